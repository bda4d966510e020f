import dataclasses
import json
import sys
import time

import numpy as np
import pytest

from export import latency
from keras_efficientnet import fit_budget, plan_cost
from keras_efficientnet import latency as timing
from keras_efficientnet.architecture import Variant


class Slow:
    input_shape = (32, 32, 3)
    classes = 1
    calls = 0

    def __call__(self, images):
        assert images.shape == (1, 32, 32, 3)
        self.calls += 1
        time.sleep(0.01 if self.calls != 5 else 0.5)
        return np.ones((1, 1), np.float32)


def test_median_ignores_one_slow_run():
    found = latency.measure_runner(Slow(), 32)
    assert 10 <= found.median_ms < 100
    assert found.median_ms <= found.p95_ms < 500


def test_slow_network_gets_three_runs(monkeypatch):
    monkeypatch.setattr(timing, "MAX_SECONDS", 0.0)
    runner = Slow()
    latency.measure_runner(runner, 32)
    assert runner.calls == timing.WARM_UP + 3


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return timing.cache_path()


def test_a_network_is_measured_once(cache, monkeypatch):
    """Through TFLite itself; at inference, dropout makes no other network."""
    small = Variant(0.25, 0.3, 32, 0.2)
    found = timing.tflite_latency(small, classes=4)
    assert found > 0
    assert list(json.loads(cache.read_text()).values()) == [found]
    monkeypatch.setattr(timing, "_measure_tflite", None)
    same = dataclasses.replace(small, dropout=0.5)
    assert timing.tflite_latency(same, classes=4) == found


@pytest.mark.parametrize("content", ["[1, 2]", "{", "null"])
def test_a_damaged_cache_is_measured_again(cache, monkeypatch, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    measured = timing.Latency(1.5, 2.0)
    monkeypatch.setattr(timing, "_measure_tflite", lambda *_: measured)
    assert timing.tflite_latency(Variant(0.25, 0.3, 32, 0.2), classes=4) == 1.5
    assert list(json.loads(cache.read_text()).values()) == [1.5]


def test_a_cache_that_cannot_be_written_is_left_out(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    monkeypatch.setattr(timing, "_measure_tflite", lambda *_: timing.Latency(1.5, 2.0))

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(timing.os, "replace", full)
    assert timing.tflite_latency(Variant(0.25, 0.3, 32, 0.2), classes=4) == 1.5
    assert not list(cache.parent.iterdir())


def test_what_is_timed_has_its_weights_in_it():
    """Variables outside of the kernels would make it ten times as slow."""
    small = Variant(0.25, 0.3, 32, 0.2)
    params = plan_cost(small, classes=4).trainable_params
    assert len(timing._convert(small, classes=4)) > 0.9 * 4 * params


def test_a_damaged_cache_is_measured_anew(cache, monkeypatch):
    measured = timing.Latency(1.5, 2.0)
    monkeypatch.setattr(timing, "_measure_tflite", lambda *_: measured)
    cache.parent.mkdir(parents=True)
    cache.write_text("{")
    assert timing.tflite_latency(Variant(1, 1, 32, 0.2)) == 1.5
    assert timing.tflite_latency(Variant(1, 1, 64, 0.2)) == 1.5
    assert len(json.loads(cache.read_text())) == 2
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_what_must_be_installed(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"keras-efficientnet\[cpu,export\]"):
        timing.tflite_latency(Variant(1, 1, 32, 0.2))


def test_other_backends_cannot_convert(cache, monkeypatch):
    monkeypatch.setattr(timing.keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="TensorFlow backend only. Received: 'jax'"):
        timing.tflite_latency(Variant(1, 1, 32, 0.2))


@pytest.fixture
def proportional(monkeypatch):
    """A machine of 10 ms for 100 M multiply-adds; lists what it was asked for."""
    asked = []

    def measure(variant, classes=1000):
        ms = plan_cost(variant, classes).multiply_adds / 1e7
        asked.append(ms)
        return ms

    monkeypatch.setattr(timing, "tflite_latency", measure)
    return asked


@pytest.mark.parametrize("limit_ms", [2.0, 38.6, 100.0, 900.0])
def test_fit_budget_by_latency(proportional, limit_ms):
    fit = fit_budget(latency_ms=limit_ms)
    assert fit.latency_ms == fit.cost.multiply_adds / 1e7 <= limit_ms
    assert fit.latency_ms > 0.8 * limit_ms  # the next 0.1 of phi is 7% dearer
    b0 = 39  # ms, where it begins
    assert max(proportional) < max(2.6 * limit_ms, b0)  # nothing far beyond the budget
    assert len(set(proportional)) <= 12


def test_fit_budget_meets_all_budgets(proportional):
    assert fit_budget(flops=1e9, latency_ms=1e4).phi == fit_budget(flops=1e9).phi
    both = fit_budget(flops=1e9, latency_ms=50)
    assert both.latency_ms <= 50
    assert both.cost.multiply_adds <= 1e9


def test_fit_budget_below_the_smallest(proportional):
    with pytest.raises(
        ValueError, match="must fit the budget. Received: latency_ms=0.01"
    ):
        fit_budget(latency_ms=0.01)
