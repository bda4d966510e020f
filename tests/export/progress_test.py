import io
import sys

import keras
import numpy as np

import export
from export import latency, progress
from export.latency import Latency
from tests.support import export_run


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_the_work_its_share_and_the_time_left(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.progress_bar(4, "calibration", "images", is_immediate=True) as bar:
        bar.update(2)
        bar.refresh()
    text = sys.stderr.getvalue()
    assert "calibration:  50%|" in text
    assert "2/4 images [00:00<00:00]" in text
    assert text.endswith("\r")  # the bar is wiped out


def test_a_pipe_shows_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress.track(np.arange(3), "calibration", "images")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


def test_an_int8_export_shows_each_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    monkeypatch.setattr(latency, "measure_artefact", lambda *_: Latency(1.0, 1.0))
    monkeypatch.setattr(sys, "stderr", Terminal())
    inputs = keras.Input((export_run.SIZE, export_run.SIZE, 3))
    export_run.write_pictures(tmp_path / "calibration", 8, seed=2)
    export_run.write_pictures(tmp_path / "verification", 12, seed=3)
    export.export_model(
        keras.Model(inputs, export_run.small_classifier(inputs)),
        ["tflite", "tflite_int8"],
        labels=list(export_run.LABELS),
        calibration=tmp_path / "calibration",
        verify=tmp_path / "verification",
        output_dir=tmp_path / "out",
    )
    text = sys.stderr.getvalue()
    for step in (
        "tflite: conversion: ",
        "tflite_int8: verification and latency: ",
        "/2 artefacts [",
        "  calibration: ",
        "/32 images [",
        "  rounding of weights: ",
        "  trial of a candidate: ",
        "  verification: ",
    ):
        assert step in text, step
    assert ": :" not in text
    assert "%" in capsys.readouterr().out  # the table, as without a terminal
