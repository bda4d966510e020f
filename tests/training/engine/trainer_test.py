import csv
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.calibration.record import read_calibration
from keras_efficientnet.common.models import open_model
from tests.support.training_runs.finished_run import finished_run
from tests.support.training_runs.tiny_run import TINY, read_checkpoint, tiny_source
from training import evaluate
from training.config import TrainConfig
from training.data import sources
from training.engine import phases, trainer
from training.reporting import run_folder

WALL_CLOCK = {"seconds", "seconds_to_first_step"}


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture(scope="module")
def finished():
    """The folder and the figures of an uninterrupted run."""
    return finished_run()


def read_metrics(workdir):
    with (workdir / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in WALL_CLOCK}
            for row in csv.DictReader(file)
        ]


def test_interrupted_run_ends_bit_identical(tmp_path, source, finished):
    assert trainer.train(TINY, tmp_path, source, stop_at_step=3, show=False) is None
    summary = trainer.train(TINY, tmp_path, source, show=False)
    workdir, straight = finished
    expected, found = read_checkpoint(workdir), read_checkpoint(tmp_path)
    assert expected.keys() == found.keys()
    assert any("model" in name for name in found)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)
    assert read_metrics(workdir) == read_metrics(tmp_path)
    for key in straight.keys() - WALL_CLOCK:
        assert straight[key] == summary[key]


@pytest.mark.slow
def test_balanced_run_ends_bit_identical_after_an_interruption(tmp_path):
    config = dataclasses.replace(
        TINY,
        sampling="balanced",
        class_weights='{"apple": 1, "pear": 2, "plum": 0.5}',
        loss="focal",
        logit_adjustment=0.5,
        mixup_alpha=0.2,
    )
    source, ends = tiny_source(), []
    for name, stops in (("straight", [None]), ("halved", [3, None])):
        for step in stops:
            folder = tmp_path / name
            trainer.train(config, folder, source, stop_at_step=step, show=False)
        ends.append(read_checkpoint(tmp_path / name))
    for name, tensor in ends[0].items():
        np.testing.assert_array_equal(tensor, ends[1][name], err_msg=name)


def test_finished_run_returns_its_summary_without_training(finished):
    workdir, summary = finished
    before = (workdir / "model.keras").stat().st_mtime_ns
    # No source is given: the data is not opened.
    assert trainer.train(TINY, workdir) == summary
    assert (workdir / "model.keras").stat().st_mtime_ns == before


def test_run_folder_holds_the_documented_files(finished):
    workdir, summary = finished
    folder = run_folder.RunFolder(workdir)
    for path in vars(folder).values():
        # Only runs with several labels per image draw the classes.
        assert path.exists() == (path != folder.per_class), path
    assert summary["steps"] == 6
    assert summary["final_images"] == 9
    assert folder.read_labels() == ("apple", "pear", "plum")
    assert folder.read_preprocessing() == EvalPreprocessing(32, 1.0, "bilinear")
    assert TrainConfig.from_json(folder.config.read_text()) == TINY
    assert "keras" in folder.environment.read_text()
    samples = [p.relative_to(folder.samples) for p in folder.samples.rglob("*.png")]
    counts = {}
    for path in samples:
        key = path.parts[:2]
        counts[key] = counts.get(key, 0) + 1
    assert {k[1]: v for k, v in counts.items() if k[0] == "verification"} == {
        "apple": 3,
        "pear": 3,
        "plum": 3,
    }
    assert sum(v for k, v in counts.items() if k[0] == "calibration") == 4
    assert len(read_metrics(workdir)) == 3


def test_run_is_calibrated_on_validation_and_scored_on_test(finished):
    workdir, summary = finished
    found = summary["calibration"]
    record = read_calibration(workdir)
    assert (record.split, record.images) == ("validation", 11)
    assert record.temperature == found["temperature"]
    # Before the calibration, the likelihood is the loss of the test split.
    assert found["before"]["nll"] == pytest.approx(summary["final_loss"], rel=1e-5)
    kernels = [
        open_model(workdir, calibrate=calibrate).model.get_layer("predictions").kernel
        for calibrate in (True, False)
    ]
    np.testing.assert_allclose(kernels[0], kernels[1] / record.temperature, rtol=1e-6)
    assert "Temperature" in (workdir / "report.md").read_text()


def test_samples_are_copies_of_the_source_images(finished, source):
    workdir, _ = finished
    path = workdir / "samples" / "verification" / "pear" / "0000001.png"
    image = tf.io.decode_png(path.read_bytes())
    np.testing.assert_array_equal(image, source.split("test").read(1))


def test_model_file_has_classes_of_keras_only(finished):
    with zipfile.ZipFile(finished[0] / "model.keras") as file:
        config = file.read("config.json").decode()
    modules = set(re.findall(r'"module": "([\w.]+)"', config))
    assert "keras.layers" in modules
    assert {name.partition(".")[0] for name in modules} == {"keras"}
    names = set(re.findall(r'"registered_name": ([^,}]+)', config))
    assert names == {"null", '"Functional"'}  # no registered class of this package


@pytest.mark.slow
def test_model_file_opens_without_this_package(finished, tmp_path):
    workdir, _ = finished
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3))
    np.save(tmp_path / "x.npy", images.astype(np.float32))
    code = (
        "import sys; sys.modules['keras_efficientnet'] = None  # no import of it\n"
        "import keras, numpy as np\n"
        f"m = keras.saving.load_model({str(workdir / 'model.keras')!r})\n"
        "np.save('y.npy', m(np.load('x.npy'), training=False))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        check=True,
        capture_output=True,
    )
    found = np.load(tmp_path / "y.npy")
    net = open_model(str(workdir), calibrate=False).model
    np.testing.assert_array_equal(found, net(images, training=False))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)


def test_run_killed_after_its_last_step_finishes(finished, tmp_path, source):
    workdir, expected = finished
    shutil.copytree(workdir, tmp_path / "run")
    for name in ("summary.json", "model.keras", "report.md"):
        (tmp_path / "run" / name).unlink()
    summary = trainer.train(TINY, tmp_path / "run", source, show=False)
    assert summary["seconds_to_first_step"] is None
    for key in expected.keys() - WALL_CLOCK:
        assert summary[key] == expected[key]
    opened = open_model(str(tmp_path / "run"))
    net, spec = opened.model, opened.preprocessing
    scores = evaluate.evaluate(net, source.split("test"), spec)
    assert (scores.top1, scores.images) == (expected["final_top1"], 9)


def test_rejects_the_folder_of_another_config(finished, source):
    workdir, _ = finished
    other = dataclasses.replace(TINY, seed=1, epochs=3)
    with pytest.raises(ValueError, match=r"differs in epochs: 2\.4 -> 3; seed: 0 -> 1"):
        trainer.train(other, workdir, source)


def test_folder_without_steps_accepts_another_config(tmp_path, source):
    folder = run_folder.RunFolder(tmp_path)
    folder.begin(dataclasses.replace(TINY, seed=7), source)
    assert folder.config.is_file()
    folder.check_config(TINY)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("grad_accum_steps", 3, "`grad_accum_steps` must divide"),
        ("weights", "nowhere.h5", "`weights` must be the path of a file"),
        ("reject_precision", 1.5, "`reject_precision` must be a ratio above 0"),
    ],
)
def test_run_that_cannot_start_writes_nothing(tmp_path, source, field, value, match):
    wrong = dataclasses.replace(TINY, **{field: value})
    with pytest.raises((ValueError, OSError), match=match):
        trainer.train(wrong, tmp_path / "run", source, show=False)
    assert not (tmp_path / "run").exists()


def test_rejects_other_images(tmp_path, source):
    trainer.train(TINY, tmp_path, source, stop_at_step=1, show=False)
    with pytest.raises(
        ValueError, match="started with. Received: .*24 images of train instead of 20"
    ):
        trainer.train(TINY, tmp_path, tiny_source(train=24), show=False)
    test = source.split("test")
    splits = {**source.splits, "test": test.take(np.arange(len(test))[::-1])}
    turned = dataclasses.replace(source, splits=splits)
    with pytest.raises(ValueError, match="test with other names, sizes or classes"):
        trainer.train(TINY, tmp_path, turned, show=False)


def test_rejects_checkpoints_without_their_config(tmp_path, source):
    trainer.train(TINY, tmp_path, source, stop_at_step=1, show=False)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="a run whose config.json is missing"):
        trainer.train(TINY, tmp_path, source, show=False)


def test_rejects_a_single_class(tmp_path):
    part = (np.zeros((4, 32, 32, 3), np.uint8), [0] * 4)
    single = sources.arrays({"train": part, "validation": part}, ["a"])
    with pytest.raises(ValueError, match="at least two classes"):
        trainer.train(TINY, tmp_path, single, show=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folder with 120 images per split, of which one is damaged."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "validation"):
        for name in ("dark", "light"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(60):
                value = 30 * (name == "light") + i
                pixels = tf.fill((32, 32, 3), tf.constant(value, tf.uint8))
                data = tf.io.encode_png(pixels).numpy()
                is_bad = (name, i) == ("light", 7)
                (folder / f"{i}.png").write_bytes(data[:40] if is_bad else data)
    return root


def test_bad_images_are_skipped_everywhere(tmp_path, photos):
    config = dataclasses.replace(
        TINY, batch_size=60, epochs=1, export_samples=120, on_bad_image="skip"
    )
    source = sources.folder(str(photos))
    summary = trainer.train(config, tmp_path / "run", source, show=False)
    assert summary["final_images"] == 119
    report = (tmp_path / "run" / "report.md").read_text()
    for split in ("train", "validation"):
        assert str(photos / split / "light" / "7.png") in report
    samples = tmp_path / "run" / "samples"
    assert len(list(samples.glob("calibration/*/*.png"))) == 119
    name = photos / "train" / "light" / "7.png"
    wanted = f"Images must be readable. Received: {name}. on_bad_image='skip' leaves"
    with pytest.raises(ValueError, match=wanted):
        trainer.train(
            dataclasses.replace(config, on_bad_image="raise"),
            tmp_path / "strict",
            source,
            show=False,
        )


def test_rejects_an_invalid_config_before_writing(tmp_path, source):
    with pytest.raises(ValueError, match="`epochs`"):
        trainer.train(dataclasses.replace(TINY, epochs=0), tmp_path / "run", source)
    assert not (tmp_path / "run").exists()


def test_loss_that_is_not_finite_stops_the_run(tmp_path, source):
    wild = dataclasses.replace(TINY, lr_per_256=1e30, schedule="constant", epochs=8)
    with pytest.raises(FloatingPointError, match=r"It became nan in steps [23] to \d+"):
        trainer.train(wild, tmp_path, source, show=False)


def test_warns_about_images_scaled_to_one_and_rejects_other_classes(tmp_path):
    whole = tiny_source(test=False)
    parts = {
        name: (np.ones((len(split), 32, 32, 3), np.uint8), split.labels)
        for name, split in whole.splits.items()
    }
    scaled = sources.arrays(parts, whole.class_names)
    with pytest.warns(UserWarning, match="0 to 255"):
        trainer.train(TINY, tmp_path, scaled, stop_at_step=1, show=False)
    renamed = dataclasses.replace(scaled, class_names=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"labels.txt lists, .*: classes a, b"):
        trainer.train(TINY, tmp_path, renamed)


def test_epochs_may_be_shorter_than_a_step():
    config = dataclasses.replace(TINY, batch_size=32, epochs=5)
    # 0.625 steps an epoch: the first one is no step, the second ends at step 1.
    assert phases.epoch_ends(config, 20) == {1: 3.0, 2: 4.0, 3: 5}
    assert phases.epoch_ends(TINY, 20) == {2: 1.0, 5: 2.0, 6: 2.4}


@pytest.mark.parametrize(
    "precision",
    ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
)
def test_half_precision_trains(tmp_path, source, precision):
    half = dataclasses.replace(TINY, precision=precision, lr_per_256=0.01)
    before = keras.config.dtype_policy()
    # Loss scaling starts at 2**15 and may have to decrease; all weights stay finite.
    trainer.train(half, tmp_path, source, stop_at_step=2, show=False)
    (row,) = read_metrics(tmp_path)
    assert np.isfinite(float(row["train_loss"]))
    assert np.isfinite(float(row["validation_loss"]))
    assert keras.config.dtype_policy() == before


def test_another_network_requires_scores_only(source, tmp_path):
    def factory(config, classes):
        raise AssertionError

    with pytest.raises(ValueError, match="unless `scores_only` is True"):
        trainer.train(TINY, tmp_path / "run", source, factory=factory)
    assert not (tmp_path / "run").exists()
