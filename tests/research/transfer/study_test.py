"""Transfer study, with scores that a formula makes up in place of training."""

import csv
import dataclasses

import pytest

from research.execution import trials
from research.transfer import study

OPTIONS = study.TransferOptions(
    models=("lite0", "EfficientNetB0"),
    datasets=("digits=digits",),
    learning_rates=(0.001, 0.01, 0.1),
    weight_decays=(1e-6, 1e-5),
    steps=10,
    batch_size=32,
    image_size=32,
    processes=1,
)


def pretend(trial, folder):
    """Prefers a learning rate of 0.01; on the test images, one of 0.1."""
    config = trial.config
    held_out = {0.001: 0.7, 0.01: 0.9, 0.1: 0.8}[config.lr_per_256]
    held_out += 0.01 * (config.weights == "imagenet") + 0.001 * (
        config.weight_decay == 1e-6
    )
    top1 = config.lr_per_256 + 0.5 + 0.02 * config.seed
    return {"top1": top1, "validation_top1": held_out, "seconds": 1.0}


@pytest.fixture
def pretended(monkeypatch):
    made = []
    run_trials = trials.run_trials

    def make(trials_, root, **options):
        made.extend(trials_)
        return run_trials(trials_, root, **options | {"make": pretend, "show": False})

    monkeypatch.setattr(trials, "run_trials", make)
    return made


def read(folder):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_held_out_images_choose_the_setting(pretended, tmp_path):
    study.run(OPTIONS, tmp_path)
    assert len(read(tmp_path)) == len(pretended) == 2 * 3 * 2
    report = (tmp_path / "report.md").read_text()
    line = next(row for row in report.splitlines() if "EfficientNetLite0" in row)
    # Wilson's interval of 51% of 359 images, by hand.
    assert "| 0.01 | 1e-06 | 91.10% | 51.00% | 45.8% to 56.1% |  |  |" in line
    assert (tmp_path / "transfer.png").read_bytes()[:4] == b"\x89PNG"


def test_repeats_the_chosen_setting_with_further_seeds(pretended, tmp_path):
    study.run(dataclasses.replace(OPTIONS, models=("lite0",), seeds=3), tmp_path)
    repeated = [row for row in read(tmp_path) if row["seed"] != "0"]
    assert [(row["learning_rate"], row["seed"]) for row in repeated] == [
        ("0.01", "1"),
        ("0.01", "2"),
    ]
    # 51, 53 and 55%.
    assert "| 53.00% | 47.8% to 58.0% | 2.00% |" in (tmp_path / "report.md").read_text()


def test_from_scratch_has_its_own_setting_and_no_weights(pretended, tmp_path):
    study.run(dataclasses.replace(OPTIONS, models=("lite0",), scratch=True), tmp_path)
    found = {trial.config.weights for trial in pretended}
    assert found == {"imagenet", None}
    report = (tmp_path / "report.md").read_text()
    assert "| EfficientNetLite0 | scratch |" in report


def test_missing_data_are_named_and_the_others_trained(pretended, tmp_path):
    options = dataclasses.replace(
        OPTIONS,
        models=("lite0",),
        datasets=("digits=digits", "birdsnap=folder:/no/such"),
    )
    study.run(options, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "- birdsnap (`folder:/no/such`):" in report
    assert {row["dataset"] for row in read(tmp_path)} == {"digits"}


def test_steps_and_batch_norm_follow_the_recipe():
    """arXiv:1805.08974, appendix A: momentum max(1 - 10 / steps per epoch, 0.9)."""
    options = dataclasses.replace(OPTIONS, steps=20_000, batch_size=256, image_size=0)
    data_set = study.TransferSet("cifar10", "tfds:cifar10", 45_000, 10, 10_000)
    config = study.run_config(options, data_set, "EfficientNetB0", "imagenet")
    assert config.total_steps(45_000) == 20_000
    assert config.bn_momentum == pytest.approx(1 - 10 / (45_000 / 256))
    assert (config.optimizer, config.weights, config.resolution) == (
        "sgd",
        "imagenet",
        224,
    )


def test_prints_the_paper_beside_the_result(pretended, tmp_path, monkeypatch):
    """Source: Table 5: CIFAR-10, B0 98.1%, NASNet-A 98.0%."""
    options = dataclasses.replace(OPTIONS, models=("b0",), datasets=("cifar10=digits",))
    study.run(options, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| 98.1% |" in report
    assert "98.0% for NASNet-A, 85 M (public)" in report


def test_a_run_that_diverges_does_not_end_the_study(monkeypatch, tmp_path):
    def diverge(trial, folder):
        raise FloatingPointError("`loss` must be finite.")

    monkeypatch.setattr(trials, "train", diverge)
    assert study.train_or_diverge(None, tmp_path)["validation_top1"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ("cifar",)}, "Did you mean 'cifar10'"),
        ({"datasets": ("digits=",)}, "must be names or NAME=SOURCE"),
        ({"datasets": ("pets", "pets=digits")}, "Received: pets twice"),
        ({"models": ("lite0", "EfficientNetLite0")}, "EfficientNetLite0 twice"),
        ({"models": ()}, "`models` must not be empty"),
        ({"seeds": 0}, "`seeds` must be at least 1. Received: seeds=0"),
        ({"datasets": ("a=folder:/no/such",)}, "must have a data set that can be read"),
    ],
)
def test_rejects_bad_options(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        study.run(dataclasses.replace(OPTIONS, **changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()
