"""Keras callbacks of the EfficientNet recipes, for every backend of Keras."""

from .._compat import require_keras_3

require_keras_3(__name__, "tfa.optimizers.MovingAverage")

from .fused_layers import FusedLayers  # noqa: E402
from .moving_average import ExponentialMovingAverage  # noqa: E402

__all__ = ["ExponentialMovingAverage", "FusedLayers"]
