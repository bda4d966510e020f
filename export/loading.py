"""What a user names as a model -> something that runs, and all that goes with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_efficientnet import efficientnet
from keras_efficientnet import weights as published
from keras_efficientnet.architecture import VARIANTS, find_variant
from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.common.files import write_text
from keras_efficientnet.common.recursion_limit import deep_graphs
from keras_efficientnet.preprocessing import EvalPreprocessing, imagenet_classes

from .formats.openvino import XML_FILE
from .runtimes.base import KerasRunner, Runner, SavedModelRunner, TFLiteRunner
from .runtimes.onnx import OnnxRunner, OpenVinoRunner
from .runtimes.web import MODEL_FILE, WebRunner

LABELS_FILE = "labels.txt"  # a class name per line, in index order
PREPROCESSING_FILE = "preprocessing.json"  # the fields of EvalPreprocessing
# Of a run folder.
KERAS_FILE = "model.keras"
CALIBRATION_SAMPLES = Path("samples", "calibration")
VERIFICATION_SAMPLES = Path("samples", "verification")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model and what it takes to use it.

    Attributes:
        name: What the user called it.
        runner: Answers for it.
        labels: Class names in index order.
        preprocessing: What evaluation does to an image.
        run_folder: The training run that it comes from, if that was named.
    """

    name: str
    runner: Runner
    labels: tuple[str, ...]
    preprocessing: EvalPreprocessing
    run_folder: Path | None = None

    @property
    def calibration(self) -> Path | None:
        """Folder of images that training set aside to calibrate with."""
        return self._samples(CALIBRATION_SAMPLES)

    @property
    def verification(self) -> Path | None:
        """Folder of images that training set aside to verify exports with."""
        return self._samples(VERIFICATION_SAMPLES)

    def _samples(self, place: Path) -> Path | None:
        if self.run_folder is None or not (self.run_folder / place).is_dir():
            return None
        return self.run_folder / place


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A model before its defaults are filled in."""

    name: str
    runner: Runner
    labels: tuple[str, ...] | None = None
    preprocessing: dict[str, Any] = dataclasses.field(default_factory=dict)
    run_folder: Path | None = None


@deep_graphs()
def load(
    model: str | Path | keras.Model,
    *,
    weights: str | None = None,
    labels: Sequence[str] | None = None,
    image_size: int | None = None,
    crop_padding: int | None = None,
    resize: str | None = None,
) -> Loaded:
    """Loads a model and finds its class names and preprocessing.

    Args:
        model: A run folder, a .keras file, a variant name ("EfficientNetB0"), a
            SavedModel folder, a .tflite file, or a Keras model.
        weights: For a variant name: a family of published weights, or a weight
            file. Defaults to "imagenet".
        labels: Class names in index order. Defaults to the labels.txt beside the
            model; without one, to ImageNet's for 1000 classes, else to "class 0"
            and so on.
        image_size: Side of the network's input, pixels. This and the following
            default to the preprocessing.json beside the model; without one, to the
            model's input size, 32 pixels and "bicubic_legacy".
        crop_padding: See `EvalPreprocessing`.
        resize: See `EvalPreprocessing`.

    Raises:
        ValueError: `model` is none of these or cannot be opened, or an argument
            does not fit it.
    """
    opened = _open(model, weights)
    given = {"image_size": image_size, "crop_padding": crop_padding, "resize": resize}
    fields = {key: value for key, value in given.items() if value is not None}
    return Loaded(
        name=opened.name,
        runner=opened.runner,
        labels=_labels(opened, labels),
        preprocessing=_preprocessing(opened, fields),
        run_folder=opened.run_folder,
    )


def write_sidecars(loaded: Loaded, folder: Path) -> None:
    """Writes labels.txt and preprocessing.json, which `load` looks for.

    Args:
        loaded: Whose labels and preprocessing.
        folder: Where to.
    """
    text = "".join(f"{label}\n" for label in loaded.labels)
    write_text(folder / LABELS_FILE, text)
    fields = json.dumps(dataclasses.asdict(loaded.preprocessing), indent=2)
    write_text(folder / PREPROCESSING_FILE, fields + "\n")


def _open(model: str | Path | keras.Model, weights: str | None) -> _Opened:
    if isinstance(model, keras.Model):
        opened = _Opened(model.name, KerasRunner(model))
    elif Path(model).expanduser().exists():
        opened = _open_path(Path(model).expanduser())
    else:
        return _open_variant(str(model), weights or "imagenet")
    if weights is not None:
        raise ValueError(
            "`weights` goes with the name of a variant only; other models hold "
            f"their own. Received: model={opened.name}, weights={weights}"
        )
    return opened


def _open_path(path: Path) -> _Opened:
    runner: Runner
    if (path / KERAS_FILE).is_file():
        runner = KerasRunner(_read_keras(path / KERAS_FILE))
        return _Opened(str(path), runner, *_read_sidecars(path), run_folder=path)
    if (path / "saved_model.pb").is_file():
        runner = SavedModelRunner(path)
    elif (path / MODEL_FILE).is_file():
        runner = WebRunner(path)
    elif path.suffix == ".tflite":
        runner = TFLiteRunner(path)
    elif path.suffix == ".onnx":
        runner = OnnxRunner(path)
    elif path.suffix == ".xml" or (path / XML_FILE).is_file():
        runner = OpenVinoRunner(path)
    elif path.suffix == ".keras":
        runner = KerasRunner(_read_keras(path))
    else:
        raise ValueError(_what_a_model_is(str(path)))
    return _Opened(str(path), runner, *_read_sidecars(path.resolve().parent))


def _open_variant(name: str, weights: str) -> _Opened:
    try:
        key = find_variant(name)
    except ValueError as error:
        raise ValueError(_what_a_model_is(name)) from error
    model = getattr(efficientnet, key)(weights=weights)
    if Path(weights).exists():
        fields: dict[str, Any] = {"image_size": VARIANTS[key].resolution}
    else:
        spec = published.weights_info(key, weights).preprocessing
        fields = dataclasses.asdict(spec)
    return _Opened(key, KerasRunner(model), preprocessing=fields)


def _read_keras(path: Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise ValueError(
            "A .keras file must be a whole model that Keras can open. "
            f"Received: {path} ({error})"
        ) from error


def _read_sidecars(folder: Path) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    labels, fields = folder / LABELS_FILE, folder / PREPROCESSING_FILE
    return (
        tuple(labels.read_text(encoding="utf-8").splitlines())
        if labels.is_file()
        else None,
        json.loads(fields.read_text(encoding="utf-8")) if fields.is_file() else {},
    )


def _labels(opened: _Opened, given: Sequence[str] | None) -> tuple[str, ...]:
    classes = opened.runner.classes
    labels = tuple(given) if given is not None else opened.labels
    if labels is None and classes == len(imagenet_classes()):
        return tuple(name for _, name in imagenet_classes())
    if labels is None:
        return tuple(f"class {i}" for i in range(classes))
    if len(labels) != classes:
        raise ValueError(
            "A model must have one label per class. "
            f"Received: {opened.name} with {classes} classes and {len(labels)} labels"
        )
    return labels


def _preprocessing(opened: _Opened, given: dict[str, Any]) -> EvalPreprocessing:
    height, width, _ = opened.runner.input_shape
    fields = {"image_size": height} | opened.preprocessing | given
    if fields["image_size"] is None:
        raise ValueError(
            "`image_size` must be given for a model that takes any size. "
            f"Received: image_size=None, model={opened.name}"
        )
    spec = EvalPreprocessing(**fields)
    if (height or spec.image_size, width or spec.image_size) != (spec.image_size,) * 2:
        raise ValueError(
            "`image_size` must be that of the model's input, and the input square. "
            f"Received: image_size={spec.image_size}, {opened.name} with input "
            f"{height} x {width}"
        )
    return spec


def _what_a_model_is(name: str) -> str:
    return (
        "A model must be a run folder (with a model.keras), a .keras file, a "
        "SavedModel, OpenVINO or web folder, a .tflite or .onnx file, or the name of a "
        "variant "
        f"({', '.join(VARIANTS)}).{did_you_mean(name, VARIANTS)} Received: {name}"
    )
