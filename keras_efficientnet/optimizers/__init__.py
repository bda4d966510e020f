"""Optimizers of the EfficientNet recipes, for `model.fit` on every backend of Keras."""

from .._compat import require_keras_3

require_keras_3(__name__, "tfa.optimizers.LAMB")

from .large_batch import LAMB, LARS  # noqa: E402
from .rmsprop import TF1RMSprop  # noqa: E402

__all__ = ["LAMB", "LARS", "TF1RMSprop"]
