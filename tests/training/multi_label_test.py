"""A run with any number of labels per image, from a CSV file to its scores."""

import csv
import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image
from sklearn.metrics import average_precision_score

from keras_efficientnet.common.models import open_model
from keras_efficientnet.common.scoring.multi_label import choose_thresholds
from tests.support.training_runs.tiny_run import TINY, read_checkpoint
from training import evaluate, fine_tune
from training.engine import trainer
from training.metrics import predictions

NAMES = ("blue", "green", "red")
CONFIG = dataclasses.replace(
    TINY,
    # One block, which is quick to trace.
    stages='[{"repeats": 1, "kernel": 3, "stride": 2, "expand": 1, "filters": 32}]',
    head_filters=64,
    task="multi_label",
    epochs=1.5,
    mixup_alpha=0.2,
    class_weights="balanced",
)


def write_list(folder):
    """Writes 28 images with none to three bright channels, and their list."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(28):
        is_bright = np.array([(i >> channel) & 1 for channel in range(3)], bool)
        pixels = rng.integers(0, 100, (36, 32, 3)) + 150 * is_bright
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
        labels = [name for name, on in zip(NAMES[::-1], is_bright, strict=True) if on]
        split = ("train", "train", "validation", "test")[i // 7]
        rows.append(f"{i:02}.png,{'|'.join(labels)},{split},{1 + i % 2}")
    path = folder / "list.csv"
    path.write_text("\n".join(["path,label,split,weight", *rows]) + "\n")
    return path


def label_sets(images):
    """Returns the labels of images by number, (images, 3), in the order of NAMES."""
    return np.array([[(i >> channel) & 1 for channel in (2, 1, 0)] for i in images])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    """The folder of a finished run, and its summary."""
    workdir = tmp_path_factory.mktemp("run")
    config = dataclasses.replace(CONFIG, data=f"csv:{data}")
    return workdir, trainer.train(config, workdir, show=False)


@pytest.fixture(scope="module")
def opened(run):
    return open_model(run[0], calibrate=False)


@pytest.fixture(scope="module")
def found(opened, data):
    """Predictions for all images, in the order of their names."""
    split = evaluate.sources.unlabelled(data.parent)
    return predictions.predict(
        opened.model, split, opened.preprocessing, thresholds=opened.thresholds
    )


def test_run_chooses_the_epoch_by_map_and_stores_thresholds(run, opened):
    workdir, summary = run
    with (workdir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(  # of equal scores, the one with the lower loss
        rows, key=lambda r: (float(r["validation_map"]), -float(r["validation_loss"]))
    )
    assert summary["best_epoch"] == float(best["epoch"])
    assert summary["best_validation_map"] == pytest.approx(
        float(best["validation_map"]), abs=1e-5
    )
    stored = json.loads((workdir / "preprocessing.json").read_text())
    assert stored["output_activation"] == "sigmoid"
    assert opened.thresholds == tuple(stored["thresholds"])
    assert len(opened.thresholds) == 3
    assert opened.model.layers[-1].activation is keras.activations.sigmoid
    report = (workdir / "report.md").read_text()
    assert f"| mAP on test | {summary['final_map']:.2%} |" in report
    assert "## Classes" in report
    for name in ("curves.png", "predictions.png", "per_class.png"):
        with Image.open(workdir / name) as picture:
            assert picture.width > 300


def test_map_and_thresholds_are_those_of_the_test_and_validation_images(
    run, opened, found
):
    truth = label_sets(range(28))
    theirs = average_precision_score(truth[21:], found.scores[21:])
    assert run[1]["final_map"] == pytest.approx(theirs, abs=1e-6)
    thresholds = choose_thresholds(truth[14:21], found.scores[14:21])
    np.testing.assert_allclose(opened.thresholds, thresholds, atol=1e-6)


def test_calibrated_model_predicts_the_same_labels(run, opened, data):
    workdir, summary = run
    calibrated = open_model(workdir)
    temperatures = calibrated.calibration.temperature
    assert len(temperatures) == 3
    assert open_model(workdir, thresholds="0.25").thresholds == (0.25,) * 3
    with pytest.raises(ValueError, match="needs a model with one label per image"):
        open_model(workdir, reject_precision=0.9)
    assert summary["calibration"]["temperature"] == list(temperatures)
    images = np.random.default_rng(0).uniform(0, 255, (16, 32, 32, 3))
    before, after = (
        np.asarray(model.model(images.astype(np.float32)))
        for model in (opened, calibrated)
    )
    logits = np.log(before) - np.log1p(-before)
    wanted = 1 / (1 + np.exp(-logits / temperatures))
    np.testing.assert_allclose(after, wanted, atol=1e-5)
    np.testing.assert_array_equal(
        before >= opened.thresholds, after >= calibrated.thresholds
    )


def test_samples_for_exports_keep_all_labels(run):
    with (run[0] / "samples" / "verification" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7  # the test images
    assert {row["label"] for row in rows} >= {"", "blue|red", "green|red"}


def test_evaluation_prints_the_scores_of_the_run(
    run, opened, data, tmp_path, monkeypatch, capsys
):
    workdir, summary = run
    holder = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", holder)
    monkeypatch.setattr(evaluate, "open_model", lambda *_, **__: opened)
    evaluate.define_flags(holder)
    arguments = [f"--model={workdir}", f"--data=csv:{data}", "--split=test"]
    holder(["evaluate", *arguments, f"--output_dir={tmp_path}"])
    evaluate._main(["evaluate"])
    assert f"mAP {summary['final_map']:.2%}  F1" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    for name in ("map", "f1", "precision", "recall", "top1"):
        assert scores[name] == pytest.approx(summary[f"final_{name}"], abs=1e-6)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows[:2]] == ["blue|red", "blue|green"]
    with (tmp_path / "per_class.csv").open(newline="") as file:
        classes = {row["class"]: row for row in csv.DictReader(file)}
    for name, threshold in zip(NAMES, opened.thresholds, strict=True):
        row = classes[name]
        assert float(row["threshold"]) == pytest.approx(threshold, rel=1e-5)
        truth = np.array([name in r["label"].split("|") for r in rows])
        predicted = np.array([name in r["predicted"].split("|") for r in rows])
        assert int(row["images"]) == truth.sum()
        assert float(row["recall"]) == pytest.approx(
            (truth & predicted).sum() / truth.sum(), abs=1e-5
        )
    assert (tmp_path / "per_class.png").is_file()


@pytest.mark.slow
def test_interrupted_run_ends_bit_identical(tmp_path, run, data):
    config = dataclasses.replace(CONFIG, data=f"csv:{data}")
    assert trainer.train(config, tmp_path, stop_at_step=1, show=False) is None
    summary = trainer.train(config, tmp_path, show=False)
    workdir, straight = run
    expected, found = read_checkpoint(workdir), read_checkpoint(tmp_path)
    for name, array in expected.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)
    clock = {"seconds", "seconds_to_first_step"}
    assert {k: v for k, v in straight.items() if k not in clock} == {
        k: v for k, v in summary.items() if k not in clock
    }
    name = "preprocessing.json"
    assert (workdir / name).read_text() == (tmp_path / name).read_text()


def test_fine_tune_takes_rows_of_labels_and_files_of_several():
    images = np.zeros((20, 8, 8, 3), np.uint8)
    labels = (np.arange(40).reshape(20, 2) % 3 == 0).astype(np.int64)
    source = fine_tune._source((images, labels), None, None, multi_label=True)
    assert source.class_names == ("class 0", "class 1")
    counts = [len(split) for split in source.splits.values()]
    assert sum(counts) == 20
    with pytest.raises(ValueError, match="a row of 1 and 0 per image"):
        fine_tune._source((images, labels[:, 0]), None, None, multi_label=True)
    with pytest.raises(ValueError, match=re.escape("(images, 2), 1 for each label")):
        fine_tune._source((images, labels + 1), None, None, multi_label=True)


def test_nothing_is_written_for_data_of_another_task(tmp_path, data):
    config = dataclasses.replace(TINY, data=f"csv:{data}")
    with pytest.raises(ValueError, match=r"line \d+ must have a single label"):
        trainer.train(config, tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
