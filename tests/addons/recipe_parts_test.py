"""Import errors of the modules that need Keras 3."""

import importlib
import sys

import pytest

import keras_efficientnet


@pytest.mark.parametrize("name", ["optimizers", "schedules", "callbacks"])
def test_rejects_keras_2_and_names_the_substitute(name):
    message = f"`keras_efficientnet.{name}` requires Keras 3. .* use `(tfa|keras)\\."
    with pytest.raises(ImportError, match=message):
        importlib.import_module(f"keras_efficientnet.{name}")
    assert f"keras_efficientnet.{name}" not in sys.modules
    with pytest.raises(ImportError, match=message):
        getattr(keras_efficientnet, name)
