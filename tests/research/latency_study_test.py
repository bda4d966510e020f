"""Latency study on a small network; the measured times are not tested."""

import os

import numpy as np
import pytest

from research import latency_study
from tests.support.training_runs.two_stages import two_stages

NAMES = ("EfficientNetB1", "ResNet-152")


@pytest.fixture
def small(monkeypatch):
    """Replaces every network by a small one; returns the names that were built."""
    network, built = two_stages(classes=4), []

    def build(name):
        built.append(name)
        return network

    monkeypatch.setattr(latency_study, "build", build)
    monkeypatch.setattr(latency_study.keras.backend, "clear_session", lambda: None)
    return built


def test_measures_each_network_once(small, tmp_path):
    latency_study.run(latency_study.LatencyOptions(models=NAMES, runs=2), tmp_path)
    latency_study.run(latency_study.LatencyOptions(models=NAMES, runs=2), tmp_path)
    assert small == list(NAMES)
    report = (tmp_path / "report.md").read_text()
    assert "the paper's ratio is 5.7." in report
    assert (tmp_path / latency_study.PICTURE).is_file()


def test_ratio_needs_both_networks():
    row = latency_study.Measured("EfficientNetB1", 240, 7.8, 0.7, 0.1, 0.01, 0.1, 0.1)
    other = latency_study.Measured("ResNet-152", 224, 60.0, 11.5, 0.55, 0.01, 0.5, 0.5)
    assert latency_study.ratio([row]) is None
    assert latency_study.ratio([row, other]) == pytest.approx(5.5)


def test_times_only_the_runs_after_warmup():
    calls = []
    times, cpu = latency_study.time_calls(lambda: calls.append(0), 4)
    assert len(calls) == 4 + latency_study.WARM_UP
    assert times.shape == (4,)
    assert np.all(times >= 0)
    assert cpu >= 0


def test_pins_the_thread_to_one_core():
    before = os.sched_getaffinity(0)
    with latency_study.pinned(-1):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before


def test_rejects_unknown_models_runs_and_cores(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'ResNet-152'"):
        latency_study.run(latency_study.LatencyOptions(models=("ResNet152",)), tmp_path)
    with pytest.raises(ValueError, match="`runs` must be at least 1"):
        latency_study.run(latency_study.LatencyOptions(runs=0), tmp_path)
    with (
        pytest.raises(ValueError, match="Received: core=9999"),
        latency_study.pinned(9999),
    ):
        pass
