"""Opens models and exported artefacts by path or variant name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_efficientnet.common import models
from keras_efficientnet.common.output_activation import (
    OUTPUT_ACTIVATIONS,
    check_finite,
    class_count,
    to_probabilities,
)
from keras_efficientnet.common.recursion_limit import raised_recursion_limit
from keras_efficientnet.common.scoring.thresholds import (
    replace_thresholds,
    resolve_thresholds,
)
from keras_efficientnet.common.sidecars import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    SAMPLES_FILE,
    Sidecars,
    read_sidecars,
)
from keras_efficientnet.preprocessing import EvalPreprocessing, imagenet_classes

from .artefacts.record import find_fastest
from .runtimes.base import KerasRunner, Runner, SavedModelRunner, TFLiteRunner
from .runtimes.onnx import XML_FILE, OnnxRunner, OpenVinoRunner
from .runtimes.web import MODEL_FILE, WebRunner
from .serving.versions import find_saved_model

# Folders of a training run.
CALIBRATION_SAMPLES = Path("samples", "calibration")
VERIFICATION_SAMPLES = Path("samples", "verification")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its class names and preprocessing.

    Attributes:
        name: Path or name that the user gave.
        runner: The model, ready to run.
        output_activation: "softmax", "linear" or "sigmoid".
        labels: Class names in index order.
        preprocessing: Crop, size and resize method of evaluation.
        run_folder: Folder of the training run, if the model is one.
        temperature: Temperature that the run's calibration has applied; None without
            a calibration, and for artefacts, which contain it.
        reject_threshold: Lowest accepted probability of the top prediction; None: all
            predictions are accepted.
        thresholds: Threshold of each class of a multi-label model; None: one label per
            image.
    """

    name: str
    runner: Runner
    output_activation: str
    labels: tuple[str, ...]
    preprocessing: EvalPreprocessing
    run_folder: Path | None = None
    temperature: float | tuple[float, ...] | None = None
    reject_threshold: float | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def channels(self) -> int:
        """Channels of the images that the model takes: 1, 3 or 4."""
        return int(self.runner.input_shape[-1] or 0)

    @property
    def calibration(self) -> Path | None:
        """Folder or list of calibration images that training has set aside."""
        return self._samples(CALIBRATION_SAMPLES)

    @property
    def verification(self) -> Path | None:
        """Folder or list of verification images that training has set aside."""
        return self._samples(VERIFICATION_SAMPLES)

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Returns the probabilities of classes, (batch, classes), float32.

        Args:
            images: (batch, height, width, channels), float32, 0 to 255.

        Raises:
            ValueError: An output of the model is infinite or NaN.
        """
        outputs = self.runner(images)
        check_finite(outputs)
        return to_probabilities(outputs, self.output_activation)

    def recognises(self, probability: float) -> bool | None:
        """Returns whether the top prediction of an image is accepted.

        Args:
            probability: Probability of the top prediction, 0 to 1.

        Returns:
            Whether it reaches the rejection threshold; None if the model has none.
        """
        if self.reject_threshold is None:
            return None
        return float(probability) >= self.reject_threshold

    def _samples(self, place: Path) -> Path | None:
        if self.run_folder is None or not (self.run_folder / place).is_dir():
            return None
        listed = self.run_folder / place / SAMPLES_FILE
        return listed if listed.is_file() else listed.parent


@raised_recursion_limit()
def load(
    model: str | Path | keras.Model,
    *,
    weights: str | None = None,
    labels: str | Path | Sequence[str] | None = None,
    image_size: int | None = None,
    crop_ratio: float | None = None,
    interpolation: str | None = None,
    crop_mode: str | None = None,
    calibrate: bool = True,
    reject_precision: float | None = None,
    thresholds: str | None = None,
) -> Loaded:
    """Loads a model and finds its class names and preprocessing.

    Values stored in an artefact take precedence over the files beside it.

    Args:
        model: A model that `open_model` accepts, or a SavedModel, OpenVINO or web
            folder, or a .tflite, .onnx or .xml file; or the folder of an export that
            has ranked formats, for the fastest artefact.
        weights: For a variant name: a family of published weights, or a weight
            file. Defaults to the family that its factory loads.
        labels: Class names in index order, or a file of them, one per line. Defaults
            to the model's own or those beside it; without any, to ImageNet's for
            1000 classes, else to "class 0" and so on.
        image_size: Side of the network's input, pixels. This and the following
            default to the model's own preprocessing or the preprocessing.json beside
            it; without any, to the model's input size, its `default_crop_ratio` and
            "bicubic_legacy".
        crop_ratio: See `EvalPreprocessing`.
        interpolation: See `EvalPreprocessing`.
        crop_mode: See `EvalPreprocessing`.
        calibrate: Whether to apply the calibration of a run folder, if it has one.
        reject_precision: See `open_model`.
        thresholds: See `open_model`.

    Raises:
        ValueError: `model` is none of these or cannot be opened, or an argument
            does not fit it.
    """
    given = {
        "image_size": image_size,
        "crop_ratio": crop_ratio,
        "interpolation": interpolation,
        "crop_mode": crop_mode,
    }
    runner = None
    if not isinstance(model, keras.Model):
        model = find_fastest(Path(model).expanduser()) or model
        runner = _open_artefact(Path(model))
    if runner is not None:
        if weights:
            raise ValueError(
                "`weights` must be None unless `model` is the name of a variant; "
                f"artefacts contain their own. Received: model={model}, "
                f"weights={weights}"
            )
        if reject_precision is not None:
            raise ValueError(
                "`reject_precision` needs a run folder; artefacts contain their "
                f"threshold. Received: reject_precision={reject_precision}, "
                f"model={model}"
            )
        found = _complete(Path(model).expanduser(), runner, labels, given)
        return _with_thresholds(found, thresholds)
    opened = models.open_model(
        model,
        weights,
        labels=labels,
        image_size=image_size,
        crop_ratio=crop_ratio,
        interpolation=interpolation,
        crop_mode=crop_mode,
        calibrate=calibrate,
        reject_precision=reject_precision,
        thresholds=thresholds,
    )
    calibration = opened.calibration
    return Loaded(
        name=opened.name,
        runner=KerasRunner(opened.model),
        output_activation=opened.output_activation,
        labels=_readable(opened.class_names, opened.classes),
        preprocessing=opened.preprocessing,
        run_folder=opened.run_folder,
        temperature=calibration.temperature if calibration else None,
        reject_threshold=opened.reject_threshold,
        thresholds=opened.thresholds,
    )


def _open_artefact(path: Path) -> Runner | None:
    path = path.expanduser()
    if (path / models.KERAS_FILE).is_file() or not path.exists():
        return None
    if find_saved_model(path) is not None:
        return SavedModelRunner(path)
    if (path / MODEL_FILE).is_file():
        return WebRunner(path)
    if path.suffix == ".tflite":
        return TFLiteRunner(path)
    if path.suffix == ".onnx":
        return OnnxRunner(path)
    if path.suffix == ".xml" or (path / XML_FILE).is_file():
        return OpenVinoRunner(path)
    return None


def _complete(
    path: Path,
    runner: Runner,
    labels: str | Path | Sequence[str] | None,
    given: Mapping[str, Any],
) -> Loaded:
    """Adds class names and preprocessing that an artefact does not contain."""
    own = runner.embedded
    beside = Sidecars()
    if own.labels is None or not own.preprocessing:
        beside = _beside(path, must_belong=labels is None)
    activation = own.output_activation or beside.output_activation
    if activation is None:
        raise ValueError(
            "A model's output activation must be known. An artefact that does not "
            "end in softmax, sigmoid or logits needs a preprocessing.json beside it, "
            f"with output_activation one of {', '.join(OUTPUT_ACTIVATIONS)}. "
            f"Received: {path}"
        )
    classes = class_count(runner.outputs, activation)
    names = own.labels if own.labels is not None else beside.labels
    height, width, _ = runner.input_shape
    found = own.preprocessing or beside.preprocessing
    thresholds = own.thresholds if own.preprocessing else beside.thresholds
    return Loaded(
        name=str(path),
        runner=runner,
        output_activation=activation,
        labels=_readable(
            models.resolve_labels(labels, names, classes, str(path)), classes
        ),
        preprocessing=models.resolve_preprocessing(
            given, found, (height, width), str(path)
        ),
        reject_threshold=own.reject_threshold
        if own.preprocessing
        else beside.reject_threshold,
        thresholds=resolve_thresholds(thresholds, classes, activation, str(path)),
    )


def _with_thresholds(found: Loaded, given: str | None) -> Loaded:
    if given is None:
        return found
    thresholds = replace_thresholds(
        given,
        found.labels,
        found.thresholds,
        len(found.labels),
        found.output_activation,
    )
    return dataclasses.replace(found, thresholds=thresholds)


def _beside(path: Path, *, must_belong: bool) -> Sidecars:
    found = read_sidecars(path.resolve().parent)
    if found.belong_to(path):
        return found
    if must_belong:
        raise ValueError(
            f"{LABELS_FILE} and {PREPROCESSING_FILE} beside an artefact must belong to "
            "it; pass its class names with --labels=FILE. "
            f"Received: {path}, beside those of {', '.join(found.artefacts or ())}"
        )
    return Sidecars()


def _readable(names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """Returns names for display: the English ones for ImageNet's classes."""
    if names is None:
        return tuple(f"class {i}" for i in range(classes))
    imagenet = imagenet_classes()
    if tuple(names) == tuple(wnid for wnid, _ in imagenet):
        return tuple(name for _, name in imagenet)
    return tuple(names)
