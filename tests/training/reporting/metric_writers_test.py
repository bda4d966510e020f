import dataclasses
import io
import math

import numpy as np
import pytest
import tensorflow as tf

from training.config import TrainConfig
from training.engine import phases
from training.reporting import metric_writers
from training.reporting.run_folder import RunFolder, balanced

SUMMARY = {
    "model": "EfficientNetLite0",
    "trainable_parameters": 4_652_008,
    "steps": 40,
    "best_epoch": 3.0,
    "best_validation_top1": 0.98765,
    "final_split": "test",
    "final_images": 359,
    "final_loss": 0.12345,
    "final_top1": 0.975,
    "final_top5": 1.0,
    "seconds": 61.2,
    "seconds_to_first_step": 8.1,
}


def row(epoch):
    return {
        "epoch": epoch,
        "step": 10.0 * epoch,
        "learning_rate": 0.1,
        "train_loss": 1 / epoch,
        "train_top1": 0.5,
        "validation_loss": 0.25,
        "validation_top1": 0.75,
        "validation_top5": 1.0,
        "seconds": 3.0,
    }


def test_metrics_keep_rows_up_to_the_step_that_training_goes_on_from(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = metric_writers.Metrics(path, first_step=0)
    for epoch in (1, 2, 3):
        metrics.add(row(epoch))
    assert path.read_text().splitlines()[0].startswith("epoch,step,learning_rate")
    resumed = metric_writers.Metrics(path, first_step=20)
    assert [r["epoch"] for r in resumed.rows] == [1, 2]
    resumed.add(row(3))
    assert len(path.read_text().splitlines()) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_tensorboard_holds_the_figures(tmp_path):
    with metric_writers.TensorBoard(tmp_path) as board:
        board.add(row(2))
    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            found[value.tag] = float(tf.make_ndarray(value.tensor)), event.step
    assert found["validation/top1"] == (0.75, 20)
    assert found["train/loss"] == (0.5, 20)


def test_progress_prints_one_line_per_epoch_off_a_terminal(capsys):
    config = TrainConfig(data="digits", batch_size=5, epochs=4)
    with metric_writers.Progress(
        config, images=10, first_step=0, show=True
    ) as progress:
        progress.step()
        progress.loss(0.5)
        progress.epoch(row(2))
    assert capsys.readouterr().err == (
        "epoch 2/4  loss 0.5000  top-1 50.00%  "
        "validation loss 0.2500  top-1 75.00%  3 s\n"
    )


def test_progress_shows_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    config = TrainConfig(data="digits", batch_size=5, epochs=4)
    with metric_writers.Progress(
        config, images=10, first_step=2, show=True
    ) as progress:
        for _ in range(6):
            progress.step()
        progress.epoch(row(4))
    text = terminal.getvalue()
    assert "40.0/40.0" in text
    assert "images/s" in text


def test_progress_can_be_silent(capsys):
    config = TrainConfig(data="digits", batch_size=5, epochs=4)
    with metric_writers.Progress(
        config, images=10, first_step=0, show=False
    ) as progress:
        progress.step()
        progress.epoch(row(1))
    assert capsys.readouterr().err == ""


def test_report_shows_figures_and_links_what_exists(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("")
    folder.curves.touch()
    config = TrainConfig(model="lite0", data="digits", epochs=4)
    summary = SUMMARY
    metric_writers.write_report(folder, config, summary)
    text = folder.report.read_text()
    assert text.startswith("# EfficientNetLite0 on digits\n")
    for part in ("97.50%", "| at epoch | 3 of 4 |", "4,652,008", "](curves.png)"):
        assert part in text
    assert "[metrics.csv](metrics.csv)" in text
    # 350 of 359 by Wilson's method.
    assert "97.50% (95.30% to 98.68%)" in text
    assert "best on validation; test was scored once" in text
    assert "## Phases" not in text
    assert "could not be decoded" not in text
    assert "[model.keras]" not in text


def test_report_tells_minival_phases_and_bad_images(tmp_path):
    folder = RunFolder(tmp_path)
    config = TrainConfig(
        model="lite0", data="digits", minival=25_000, epochs=4, head_epochs=1
    )
    summary = {**SUMMARY, "final_split": "validation"}
    run_phases = phases.plan(
        dataclasses.replace(config, train_from_stage=5), images=2560
    )
    bad = [f"bad_{i}.jpg" for i in range(102)]
    metric_writers.write_report(
        folder, config, summary, run_phases=run_phases, bad_images=bad
    )
    text = folder.report.read_text()
    assert "best minival top-1" in text
    assert "best on minival, 25,000 training images that were held out" in text
    assert "| 1 to 10 | the classifier, 224 pixels |" in text
    assert "| 11 to 40 | stages from 5, 224 pixels |" in text
    assert "102 training images were left out" in text
    assert "- `bad_99.jpg`\n- and 2 more\n" in text


def test_file_names_are_no_headings_of_the_report(tmp_path):
    folder = RunFolder(tmp_path)
    config = TrainConfig(data="folder:a\n# b|c")
    bad = ["a\n# Heading\n.jpg", "`rm`.jpg"]
    metric_writers.write_report(folder, config, SUMMARY, bad_images=bad)
    text = folder.report.read_text()
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("# ")] == [
        r"# EfficientNetB0 on folder:a\\n# b\|c"
    ]
    assert r"- `a\n# Heading\n.jpg`" in lines
    assert "- `` `rm`.jpg ``" in lines
    assert r"| data | `'folder:a\n# b\|c'` |" in lines


def test_report_says_when_validation_chose_the_epoch(tmp_path):
    folder = RunFolder(tmp_path)
    summary = {**SUMMARY, "final_split": "validation"}
    metric_writers.write_report(folder, TrainConfig(data="digits"), summary)
    assert "There is no test split" in folder.report.read_text()


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        (None, "all weights"),
        (0, "all but the stem"),
        (6, "stages from 7"),
        (7, "the head"),
        ("top", "the classifier"),
    ],
)
def test_phases_in_words(frozen, words):
    phase = phases.Phase(0, 1, 128, frozen)
    assert metric_writers.describe_phase(phase) == f"{words}, 128 pixels"


def test_balanced_takes_classes_in_turn():
    labels = np.array([0, 0, 0, 0, 1, 2, 1])
    assert balanced(labels, 4) == [0, 1, 4, 5]
    assert balanced(labels, 100) == list(range(7))
    assert balanced(labels, 0) == []


def test_run_folder_without_a_summary_is_unfinished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_summary() is None
    folder.write_summary({"final_top1": 0.5})
    assert folder.read_summary() == {"final_top1": 0.5}


@pytest.mark.parametrize("value", [math.pi, 1e-9])
def test_metrics_are_exact_to_seven_digits(tmp_path, value):
    path = tmp_path / "metrics.csv"
    metric_writers.Metrics(path, 0).add({**row(1), "train_loss": value})
    found = metric_writers.Metrics(path, 10).rows[0]["train_loss"]
    assert found == pytest.approx(value, rel=1e-6)
