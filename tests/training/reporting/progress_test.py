import dataclasses
import os
import pty
import re
import subprocess
import sys
import termios

import numpy as np
import pytest
import tensorflow as tf

from tests.support.paths import ROOT
from tests.support.training_runs import tiny_run
from training.config import TrainConfig
from training.data import sources
from training.reporting import progress

CONFIG = TrainConfig(data="digits", batch_size=5, epochs=4)
ROW = {
    "epoch": 2,
    "train_loss": 0.5,
    "train_top1": 0.5,
    "validation_loss": 0.25,
    "validation_top1": 0.75,
    "seconds": 3.0,
}
LINE = (
    "epoch 2/4  loss 0.5000  top-1 50.00%  validation loss 0.2500  top-1 75.00%  3 s\n"
)
# A network of a few thousand weights, for one epoch.
STAGES = tiny_run.TINY.stages
TINY_RUN = [
    *("--config=digits", "--config.epochs=1", f"--config.stages={STAGES}"),
    *("--config.export_samples=1", "--config.warmup_epochs=0"),
]


def show(first_step=0, show=True):
    with progress.ProgressBar(CONFIG, 10, first_step, show) as bar:
        bar.header(["model  B0"])
        for _ in range(6):
            bar.step()
        bar.loss(0.125)
        bar.epoch(ROW)


def test_pipes_get_the_header_and_a_line_per_epoch(capsys):
    show()
    assert capsys.readouterr().err == f"model  B0\n{LINE}"


def test_progress_can_be_silent(capsys):
    show(show=False)
    assert capsys.readouterr().err == ""


def open_terminal():
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    return leader, follower


def read_terminal(leader):
    chunks = []
    try:
        while chunk := os.read(leader, 65536):
            chunks.append(chunk)
    except OSError:  # Linux, when the last writer has closed the terminal
        pass
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_terminals_get_the_same_lines_and_a_bar(monkeypatch):
    leader, follower = open_terminal()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        show(first_step=2)
        monkeypatch.undo()
    text = read_terminal(leader)
    os.close(leader)
    assert "model  B0\n" in text
    assert LINE in text
    # Two steps of two per epoch came from an earlier session.
    assert re.search(r"epoch 2/4 \|.*\| step 2/8 ", text)
    last = text.rstrip().split("\r")[-1]
    assert re.search(r"epoch 4/4 \|.*\| step 8/8  [\d,]+ images/s  loss 0.1250  ", last)
    assert last.endswith("00:00 left")


def test_loss_is_due_after_a_second_and_only_on_a_terminal(monkeypatch):
    leader, follower = open_terminal()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with progress.ProgressBar(CONFIG, 10, 0, show=True) as bar:
            assert not bar.is_loss_due()
            monkeypatch.setattr(progress, "LOSS_S", -1.0)
            assert bar.is_loss_due()
        monkeypatch.undo()
    os.close(leader)
    monkeypatch.setattr(progress, "LOSS_S", -1.0)
    with progress.ProgressBar(CONFIG, 10, 0, show=True) as bar:
        assert not bar.is_loss_due()


def test_header_describes_model_data_devices_and_steps():
    images, labels = (
        np.zeros((10, 8, 8, 3), np.uint8),
        np.arange(10, dtype=np.int32) % 2,
    )
    splits = {"train": (images, labels), "validation": (images[:4], labels[:4])}
    source = sources.arrays(splits, ["a", "b"])
    strategy = tf.distribute.get_strategy()
    found = progress.describe_start(CONFIG, source, strategy, 3, "2 workers from SLURM")
    assert found == [
        "model    EfficientNetB0 at 224 pixels, 2 classes, label smoothing 0.1 in the "
        "loss",
        "images   10 train, 4 validation",
        "devices  CPU, float32, 2 workers from SLURM",
        "steps    8 of 5 images in 4 epochs, resumed after step 3",
    ]


def test_header_warns_about_half_precision_on_cpus():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    part = (images, labels)
    source = sources.arrays({"train": part, "validation": part}, ["a", "b"])
    config = dataclasses.replace(CONFIG, precision="mixed_bfloat16")
    strategy = tf.distribute.get_strategy()
    _, _, devices, _ = progress.describe_start(config, source, strategy, 0)
    assert devices == "devices  CPU, mixed_bfloat16 (slower than float32 on CPUs)"


def test_devices_are_counted_and_named(monkeypatch):
    class Two(tf.distribute.MirroredStrategy):
        num_replicas_in_sync = 2

    config = progress.tf.config
    assert progress.describe_devices(Two(["CPU:0"])) == "2 x CPU"
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: ["GPU:0"])
    details = {"device_name": "NVIDIA L4"}
    monkeypatch.setattr(config.experimental, "get_device_details", lambda _: details)
    assert progress.describe_devices(Two(["CPU:0"])) == "2 x NVIDIA L4"


@pytest.mark.parametrize(
    "is_terminal", [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_run_shows_its_progress_and_nothing_of_tensorflow(tmp_path, is_terminal):
    clean = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    leader, follower = open_terminal() if is_terminal else os.pipe()
    command = [sys.executable, "-m", "training.main", f"--workdir={tmp_path}"]
    process = subprocess.Popen(
        [*command, *TINY_RUN],
        cwd=ROOT,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    text = read_terminal(leader)
    printed, _ = process.communicate()
    os.close(leader)
    assert process.returncode == 0, text
    assert printed.startswith("test top-1 ")
    assert ("images/s" in text) == is_terminal
    # Without the bar, which is drawn over itself, what remains are five lines.
    lines = [part for line in text.split("\n") for part in line.split("\r")]
    kept = [x for x in lines if x.strip() and "images/s" not in x and "\x1b" not in x]
    assert [line.split()[0] for line in kept] == [
        *("model", "images", "devices", "steps", "epoch")
    ], text
