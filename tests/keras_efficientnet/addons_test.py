"""Errors without TensorFlow Addons; tests/addons runs with them."""

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


def test_names_the_extra_if_addons_are_missing(fresh, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"must be installed.*\[addons\]"):
        importlib.import_module(MODULE)
