import dataclasses
import json
import os

import pytest

from keras_efficientnet.common.files import InUseError, lock
from research import base_network
from research.execution import trials
from training.config import TrainConfig

ONE_STAGE = '[{"repeats": 1, "kernel": 3, "stride": 1, "expand": 1, "filters": 8}]'
TINY = TrainConfig(
    model="EfficientNet",
    data="digits",
    stages=ONE_STAGE,
    stem_filters=8,
    head_filters=8,
    image_size=8,
    crop_ratio=1.0,
    interpolation="bilinear",
    batch_size=8,
    epochs=1,
    warmup_epochs=0,
    drop_connect=0.0,
    strategy="one_device",
)


def jobs(count):
    return [
        trials.Trial(f"seed {seed}", dataclasses.replace(TINY, seed=seed))
        for seed in range(count)
    ]


def make(trial, folder):
    """Records which process ran the trial; fails if the trial has run before."""
    folder.mkdir()
    with (folder.parent / f"made-{trial.config.seed}").open("x") as file:
        file.write(str(os.getpid()))
    return {"top1": trial.config.seed / 10, "validation_top1": 0.5, "seconds": 1.0}


def fail(trial, folder):
    raise FloatingPointError(f"cannot train {trial.name}")


def test_runs_each_trial_once_and_finds_its_result(tmp_path):
    options = {"processes": 1, "make": make, "show": False}
    found = trials.run_trials(jobs(2), tmp_path, **options)
    assert [result["top1"] for result in found] == [0.0, 0.1]
    # `make` would fail for a trial that has run before.
    found = trials.run_trials(jobs(3), tmp_path, **options)
    assert [result["top1"] for result in found] == [0.0, 0.1, 0.2]
    assert not (tmp_path / jobs(1)[0].key).exists()


def test_keys_depend_on_everything_but_the_name():
    job = jobs(1)[0]
    others = [
        dataclasses.replace(job, train_images=7),
        dataclasses.replace(job, validation_images=7),
        dataclasses.replace(job, test_images=7),
        dataclasses.replace(job, config=dataclasses.replace(TINY, width=2.0)),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5
    assert dataclasses.replace(job, name="other").key == job.key


@pytest.mark.slow
def test_processes_share_the_trials(tmp_path):
    found = trials.run_trials(jobs(6), tmp_path, processes=2, make=make, show=False)
    assert [result["top1"] for result in found] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    makers = {path.read_text() for path in tmp_path.glob("made-*")}
    assert str(os.getpid()) not in makers
    with pytest.raises(RuntimeError, match="FloatingPointError: cannot train seed"):
        trials.run_trials(jobs(8), tmp_path, processes=2, make=fail, show=False)


def test_skips_a_trial_that_another_process_is_running(tmp_path):
    (job,), storage = jobs(1), trials.Storage(tmp_path)
    with lock(tmp_path / f"{job.key}.lock", "storage"):
        assert not storage.try_to_make(job, make)
        with pytest.raises(InUseError, match="`storage` must not be in use"):
            lock(tmp_path / f"{job.key}.lock", "storage").__enter__()
    assert storage.find(job) is None
    assert storage.try_to_make(job, make)
    assert not storage.try_to_make(job, make)


def test_trains_and_scores_on_the_requested_number_of_images(tmp_path):
    job = trials.Trial("tiny", TINY, 16, 10, 20)
    result = trials.train(job, tmp_path / "run")
    assert result["top1"] * 20 == pytest.approx(round(result["top1"] * 20))
    share = result["validation_top1"]
    assert share * 10 == pytest.approx(round(share * 10))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["steps"], summary["final_images"]) == (2, 20)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"model.keras", "samples", "report.md", "predictions.png"}


def test_options_override_the_recipe_of_the_base(tmp_path):
    options = base_network.TrainingOptions(data="digits")
    config = base_network.base_config(options)
    assert config.stage_table == base_network.SMALL
    assert (config.image_size, config.epochs) == (16, base_network.DIGITS_EPOCHS)
    (tmp_path / "table.json").write_text(ONE_STAGE)
    mine = dataclasses.replace(
        options,
        base=str(tmp_path / "table.json"),
        image_size=12,
        epochs=2.0,
        lr_per_256=0.04,
    )
    config = base_network.base_config(mine)
    assert [stage.filters for stage in config.stage_table] == [8]
    assert (config.image_size, config.epochs, config.lr_per_256) == (12, 2.0, 0.04)
    assert str(tmp_path) not in config.to_json()


def test_recipe_file_may_change_the_default_configuration(tmp_path):
    (tmp_path / "lamb.py").write_text(
        "import dataclasses\n"
        "from research.base_network import small_config\n"
        "def get_config():\n"
        "    return dataclasses.replace(small_config(), optimizer='lamb')\n"
    )
    options = base_network.TrainingOptions(data="digits", lr_per_256=0.03)
    mine = dataclasses.replace(options, recipe=str(tmp_path / "lamb.py"))
    config = base_network.base_config(mine)
    assert (config.optimizer, config.lr_per_256) == ("lamb", 0.03)
    assert config.epochs == base_network.small_config().epochs
    default = base_network.base_config(options)
    assert config.stage_table == default.stage_table
    assert config.image_size == default.image_size


def test_variant_replaces_the_network_of_the_recipe():
    config = base_network.base_config(
        base_network.TrainingOptions(data="digits", recipe="imagenet:b1", base="b0")
    )
    assert (config.model, config.stages) == ("EfficientNet", None)
    # B0's size: settings that the recipe leaves to the variant follow the base.
    assert (config.image_size, config.width, config.depth) == (224, 1.0, 1.0)
    scaled = base_network.scaled_config(
        config, base_network.Scaling(2.0, 1.5, 1.1), seed=3
    )
    assert (scaled.depth, scaled.width, scaled.image_size) == (2.0, 1.5, 246)
    assert scaled.seed == 3


@pytest.mark.parametrize(
    ("installed", "data"), [(True, "fashion_mnist"), (False, "digits")]
)
def test_default_data_depends_on_what_is_installed(
    installed, data, tmp_path, monkeypatch
):
    place = tmp_path if installed else tmp_path / "missing"
    monkeypatch.setattr(base_network.trainer.sources, "FASHION_MNIST", place)
    assert base_network.resolve_data(base_network.TrainingOptions()).data == data
    assert (
        base_network.resolve_data(base_network.TrainingOptions(data="digits")).data
        == "digits"
    )


def test_default_data_is_that_of_the_recipe():
    options = base_network.TrainingOptions(recipe="imagenet:b0")
    imagenet = base_network.trainer.config.load("imagenet:b0").data
    assert base_network.resolve_data(options).data == imagenet == "tfds:imagenet2012"
