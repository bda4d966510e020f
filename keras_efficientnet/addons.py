"""TensorFlow Addons, with a helpful error where it cannot run.

Write `from keras_efficientnet.addons import tfa` for `import tensorflow_addons as tfa`.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import keras

__all__ = ["tfa"]


def _load() -> Any:
    advice = (
        "`pip install 'efficientnet-keras[addons]'` in a separate environment installs "
        "all of them; docs/addons.md lists a replacement for each part."
    )
    if not keras.__version__.startswith("2.15."):
        raise ImportError(
            "TensorFlow Addons is discontinued; its last release, 0.23, needs "
            f"TensorFlow 2.15 and Keras 2.15. {advice} "
            f"Received: Keras {keras.__version__}"
        )
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ImportError(f"tensorflow_addons must be installed. {advice}")
    import tensorflow_addons

    return tensorflow_addons


tfa = _load()
