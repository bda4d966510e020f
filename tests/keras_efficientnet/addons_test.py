"""Without TensorFlow Addons; with them, tests/addons is run."""

import importlib.util
import sys

import keras
import pytest

MODULE = "keras_efficientnet.addons"


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


def test_rejects_keras_3(fresh, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.15.1")
    with pytest.raises(ImportError, match=r"\[addons\].*Received: Keras 3\.15\.1"):
        importlib.import_module(MODULE)


def test_missing_addons_are_reported_with_the_extra(fresh, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"must be installed.*\[addons\]"):
        importlib.import_module(MODULE)
