"""Input of the format writers: a network with its labels and preprocessing."""

from __future__ import annotations

import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterable
from typing import TypeVar

import keras
import numpy as np

from keras_efficientnet.common import output_activation, sidecars
from keras_efficientnet.preprocessing import EvalPreprocessing

_Made = TypeVar("_Made")


@dataclasses.dataclass(frozen=True, eq=False)
class ExportInputs:
    """Network to export, with its labels, preprocessing and calibration images.

    Attributes:
        model: Network in float32.
        image_size: Side of its input, pixels.
        labels: Class names in index order.
        preprocessing: Crop, size and resize method of evaluation.
        calibration: Images, batches of (batch, image_size, image_size, channels),
            float32, 0 to 255, that can be iterated over repeatedly; empty if there are
            none.
        title: Title of the web page; None for the model's name.
        reject_threshold: Lowest accepted probability of the top prediction; None: all
            predictions are accepted.
        thresholds: Threshold of each class of a multi-label model; None: one label per
            image.
        saved_model_version: Name of the folder for the SavedModel in its artefact, as
            TensorFlow Serving expects it; None: the artefact is the SavedModel.
    """

    model: keras.Model
    image_size: int
    labels: tuple[str, ...]
    preprocessing: EvalPreprocessing
    calibration: Iterable[np.ndarray] = ()
    title: str | None = None
    reject_threshold: float | None = None
    thresholds: tuple[float, ...] | None = None
    saved_model_version: int | None = None

    @property
    def channels(self) -> int:
        """Channels of the input: 1, 3 or 4."""
        return int(self.model.inputs[0].shape[-1])

    @property
    def output_activation(self) -> str:
        """Output activation: "softmax", "linear" or "sigmoid"."""
        return output_activation.output_activation(self.model)

    @property
    def output_name(self) -> str:
        """Name of an artefact's output: "probabilities" or "logits"."""
        is_linear = self.output_activation == output_activation.LINEAR
        return "logits" if is_linear else "probabilities"

    @property
    def labels_text(self) -> str:
        """Content of an artefact's labels.txt."""
        return sidecars.format_labels(self.labels)

    @property
    def preprocessing_text(self) -> str:
        """Content of an artefact's preprocessing.json."""
        return sidecars.format_preprocessing(
            self.preprocessing,
            self.output_activation,
            reject_threshold=self.reject_threshold,
            thresholds=self.thresholds,
        )


def once_per_network(
    make: Callable[[ExportInputs], _Made],
) -> Callable[[ExportInputs], _Made]:
    """Decorates a slow function whose result several formats need.

    Args:
        make: Function; its result is kept as long as the network's export inputs.
    """
    results: weakref.WeakKeyDictionary[ExportInputs, _Made]
    results = weakref.WeakKeyDictionary()

    @functools.wraps(make)
    def get(source: ExportInputs) -> _Made:
        if source not in results:
            results[source] = make(source)
        return results[source]

    return get
