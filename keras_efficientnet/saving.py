"""Loading of saved models without drawing the initial weights first."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ._compat import to_tensor

_CONFIG = "config.json"  # the entry of a .keras file that describes the layers
# Not drawn, and layers may use them for values that are not saved.
_KEPT = ("Constant", "Identity", "STFT")
_made: weakref.WeakSet[_LoadedInitializer] = weakref.WeakSet()


def load_model(path: str | os.PathLike[str], **options: Any) -> Any:
    """Loads a model as `keras.saving.load_model` does, but faster on JAX.

    Keras draws every layer's initial weights before it reads those of the file. On
    JAX it compiles a program for each of their shapes, which takes most of a minute for
    B0. This function skips the draws. The model is the same, its initializers included.

    Args:
        path: Path of a `.keras` file, or of another file that Keras can load.
        **options: Arguments of `keras.saving.load_model`.

    Returns:
        The model.
    """
    if not zipfile.is_zipfile(path):
        return keras.saving.load_model(path, **options)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, Path(path).name)
        _copy_with_loaded_initializers(Path(path), copy)
        model = keras.saving.load_model(copy, **options)
    while _made:
        _made.pop().restore()
    return model


@keras.saving.register_keras_serializable("keras_efficientnet")
class _LoadedInitializer(keras.initializers.Initializer):
    """Ones or zeros in place of values that a file will overwrite."""

    def __init__(self, original: dict[str, Any]) -> None:
        self._original = original
        _made.add(self)

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        # A layer may also compute with ones that it does not save.
        value = 1.0 if self._original["class_name"] == "Ones" else 0.0
        return to_tensor(np.full(shape, value, np.float32), dtype)

    def get_config(self) -> dict[str, Any]:
        return {"original": self._original}

    def restore(self) -> None:
        """Turns this object, which layers hold, into the original initializer."""
        original = keras.initializers.deserialize(self._original)
        self.__class__ = type(original)
        self.__dict__ = original.__dict__


def _copy_with_loaded_initializers(path: Path, copy: Path) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            if name == _CONFIG:
                config = json.loads(source.read(name))
                target.writestr(name, json.dumps(_replaced(config)))
                continue
            with (
                source.open(name) as read,
                target.open(name, "w", force_zip64=True) as written,
            ):
                shutil.copyfileobj(read, written)


def _replaced(config: Any) -> Any:
    """Replaces Keras' initializers anywhere in a model's serialized form."""
    if isinstance(config, list):
        return [_replaced(item) for item in config]
    if not isinstance(config, dict):
        return config
    is_initializer = config.get("module") == "keras.initializers"
    if is_initializer and config["class_name"] not in _KEPT:
        return {
            "module": None,
            "class_name": _LoadedInitializer.__name__,
            "registered_name": f"keras_efficientnet>{_LoadedInitializer.__name__}",
            "config": {"original": config},
        }
    return {key: _replaced(value) for key, value in config.items()}
