"""What artefacts are made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np

from keras_efficientnet.preprocessing import EvalPreprocessing


@dataclasses.dataclass(frozen=True)
class Source:
    """What an artefact is made from.

    Attributes:
        model: Network in float32.
        image_size: Side of its input, pixels.
        labels: Class names in index order.
        preprocessing: What evaluation does to an image.
        calibration: Images, batches of (batch, image_size, image_size, 3), float32,
            0 to 255; can be gone through more than once. Empty: none were given.
    """

    model: keras.Model
    image_size: int
    labels: tuple[str, ...]
    preprocessing: EvalPreprocessing
    calibration: Iterable[np.ndarray] = ()
