import dataclasses
import json
import sys

import pytest

from keras_efficientnet import plan_cost
from keras_efficientnet.architecture import Variant
from keras_efficientnet.cost import tflite_latency as timing


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return timing.cache_path()


def test_measures_a_network_once(cache, monkeypatch):
    """Measures with TFLite; dropout does not change the network at inference."""
    small = Variant(0.25, 0.3, 32, 0.2)
    found = timing.tflite_latency(small, classes=4)
    assert found > 0
    assert list(json.loads(cache.read_text()).values()) == [found]
    monkeypatch.setattr(timing, "_measure_tflite", None)
    same = dataclasses.replace(small, dropout=0.5)
    assert timing.tflite_latency(same, classes=4) == found


@pytest.mark.parametrize("content", ["[1, 2]", "{", "null"])
def test_measures_again_if_the_cache_is_damaged(cache, monkeypatch, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    measured = timing.Latency(1.5, 2.0)
    monkeypatch.setattr(timing, "_measure_tflite", lambda *_: measured)
    assert timing.tflite_latency(Variant(1, 1, 32, 0.2)) == 1.5
    assert timing.tflite_latency(Variant(1, 1, 64, 0.2)) == 1.5
    assert list(json.loads(cache.read_text()).values()) == [1.5, 1.5]
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_works_without_a_writable_cache(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    monkeypatch.setattr(timing, "_measure_tflite", lambda *_: timing.Latency(1.5, 2.0))

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(timing.os, "replace", full)
    assert timing.tflite_latency(Variant(0.25, 0.3, 32, 0.2), classes=4) == 1.5
    assert not list(cache.parent.iterdir())


def test_measured_models_contain_their_weights():
    """Resource variables would make them ten times slower."""
    small = Variant(0.25, 0.3, 32, 0.2)
    params = plan_cost(small, classes=4).trainable_params
    assert len(timing._convert(small, classes=4)) > 0.9 * 4 * params


def test_missing_packages_are_reported_with_the_extra(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r"efficientnet-keras\[cpu,export\]"):
        timing.tflite_latency(Variant(1, 1, 32, 0.2))


def test_rejects_other_backends(cache, monkeypatch):
    monkeypatch.setattr(timing.keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        ValueError, match="with Keras' TensorFlow backend. Received: 'jax'"
    ):
        timing.tflite_latency(Variant(1, 1, 32, 0.2))
