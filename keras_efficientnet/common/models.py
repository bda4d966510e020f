"""Opens a Keras model by path or variant name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from .. import efficientnet
from ..architecture import VARIANTS, find_variant
from ..calibration.record import CalibrationRecord, read_calibration
from ..calibration.temperature import fold_temperature
from ..calibration.thresholds import scale_thresholds
from ..preprocessing import EvalPreprocessing, imagenet_classes
from ..weights import weights_info
from ..weights.registry.table import default_family, is_published
from .choices import did_you_mean
from .output_activation import class_count, output_activation
from .recursion_limit import raised_recursion_limit
from .scoring.thresholds import replace_thresholds, resolve_thresholds
from .sidecars import Sidecars, check_labels, read_labels, read_sidecars

KERAS_FILE = "model.keras"  # in a run folder
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
# Help text of the flag `weights`, which the commands pass to `open_model`.
WEIGHTS_HELP = (
    "Weights of a variant: a published family, a weight file, or a repository of a "
    "timm model on the Hugging Face Hub, hf://OWNER/NAME[@REVISION]. Default: the "
    "family that its factory loads, imagenet for most variants."
)


@dataclasses.dataclass(frozen=True)
class OpenedModel:
    """A classifier with its class names and preprocessing.

    Attributes:
        name: Path or name given by the user, or the name of an in-memory model.
        model: Model from images, 0 to 255, to (batch, outputs).
        output_activation: Activation of the outputs; see `output_activation`.
        class_names: Class names in index order, WordNet ids for ImageNet; None if
            unknown.
        preprocessing: Preprocessing of images for evaluation.
        run_folder: Folder of the training run, if the model was opened from one.
        calibration: Calibration that was applied to the model; None without any.
        thresholds: Threshold of each class of a multi-label model; None: one label per
            image.
    """

    name: str
    model: keras.Model
    output_activation: str
    class_names: tuple[str, ...] | None
    preprocessing: EvalPreprocessing
    run_folder: Path | None = None
    calibration: CalibrationRecord | None = None
    thresholds: tuple[float, ...] | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        outputs = int(self.model.outputs[0].shape[-1])
        return class_count(outputs, self.output_activation)

    @property
    def reject_threshold(self) -> float | None:
        """Lowest accepted probability of the top prediction; None: all are accepted."""
        return self.calibration.reject_threshold if self.calibration else None


@raised_recursion_limit()
def open_model(
    model: str | Path | keras.Model,
    weights: str | None = None,
    *,
    labels: str | Path | Sequence[str] | None = None,
    image_size: int | None = None,
    crop_ratio: float | None = None,
    interpolation: str | None = None,
    crop_mode: str | None = None,
    calibrate: bool = True,
    reject_precision: float | None = None,
    thresholds: str | None = None,
) -> OpenedModel:
    """Opens a run folder, a Keras file, or a variant with weights.

    Args:
        model: A run folder, a .keras or .h5 file with a complete model, a variant name
            ("EfficientNetB0"), or a Keras model.
        weights: Family of published weights, repository or path of a weight file, as in
            `load_weights`, for a variant name only. None or "" stands for the family
            that the variant's factory loads by default: "imagenet", for B8
            "randaugment", for L2 "noisy-student".
        labels: Class names in index order, or a text file with one per line. Defaults
            to the labels.txt next to the model, or to ImageNet's for 1000 classes.
        image_size: Side of the network's input, pixels. This and the following
            arguments default to the preprocessing.json next to the model; without it,
            to the model's input size, its `default_crop_ratio` and "bicubic_legacy".
        crop_ratio: See `EvalPreprocessing`.
        interpolation: See `EvalPreprocessing`.
        crop_mode: See `EvalPreprocessing`.
        calibrate: Whether to apply the calibration of a run folder, if it has one.
        reject_precision: Precision of accepted predictions, for which the run's
            validation images give the threshold. Defaults to that of the run.
        thresholds: Thresholds for a model that ends in sigmoids, as for
            `parse_thresholds`. Defaults to those stored with the model.

    Raises:
        ValueError: `model` is not one of these, cannot be opened, or is not an image
            classifier; or another argument does not match it.
    """
    name, network, beside, run_folder = _open(model, weights)
    check_classifier(name, network)
    activation = output_activation(network)
    classes = class_count(int(network.outputs[0].shape[-1]), activation)
    given = {
        "image_size": image_size,
        "crop_ratio": crop_ratio,
        "interpolation": interpolation,
        "crop_mode": crop_mode,
    }
    calibration = _calibration(name, run_folder, calibrate, reject_precision)
    if calibration is not None:
        fold_temperature(network, calibration.temperature)
    class_names = resolve_labels(labels, beside.labels, classes, name)
    found = resolve_thresholds(beside.thresholds, classes, activation, name)
    if found and calibration and isinstance(calibration.temperature, tuple):
        found = scale_thresholds(found, calibration.temperature)
    if thresholds is not None:
        found = replace_thresholds(thresholds, class_names, found, classes, activation)
    return OpenedModel(
        name=name,
        model=network,
        output_activation=activation,
        class_names=class_names,
        preprocessing=resolve_preprocessing(
            given, beside.preprocessing, network.inputs[0].shape[1:3], name
        ),
        run_folder=run_folder,
        calibration=calibration,
        thresholds=found,
    )


def resolve_labels(
    given: str | Path | Sequence[str] | None,
    found: Sequence[str] | None,
    classes: int,
    name: str,
) -> tuple[str, ...] | None:
    """Resolves a model's class names.

    Args:
        given: Class names passed by the user, or a file of them; None if not passed.
        found: Class names stored with the model; None without any.
        classes: Number of the model's classes.
        name: Name of the model, for error messages.

    Returns:
        Class names in index order; WordNet ids for a model of 1000 classes without
        names; None if unknown.

    Raises:
        ValueError: The names do not match the model.
    """
    if isinstance(given, str | Path):
        given = read_labels(given)
    labels = found if given is None else given
    if labels is None:
        ids = tuple(wnid for wnid, _ in imagenet_classes())
        return ids if classes == len(ids) else None
    check_labels(labels, classes, name)
    return tuple(labels)


def resolve_preprocessing(
    given: Mapping[str, Any],
    found: Mapping[str, Any],
    input_size: Sequence[int | None],
    name: str,
) -> EvalPreprocessing:
    """Resolves the preprocessing of a model's images.

    Args:
        given: Fields of `EvalPreprocessing` passed by the user; None values are unset.
        found: Fields stored with the model.
        input_size: Height and width of the model's input, pixels; None for any size.
        name: Name of the model, for error messages.

    Raises:
        ValueError: The image size is unknown, or is not that of the input.
    """
    height, width = input_size
    fields = {"image_size": height} | dict(found)
    fields |= {key: value for key, value in given.items() if value is not None}
    if fields["image_size"] is None:
        raise ValueError(
            "`image_size` must be given for a model that takes images of any size. "
            f"Received: image_size=None, model={name}"
        )
    spec = EvalPreprocessing(**fields)
    size = spec.image_size
    if (height or size, width or size) != (size, size):
        raise ValueError(
            "`image_size` must match the model's input, and the input must be square. "
            f"Received: image_size={size}, {name} with input {height} x {width}"
        )
    return spec


def check_classifier(name: str, model: keras.Model) -> None:
    """Checks that a Keras model maps one batch of images to class scores.

    Args:
        name: Name of the model, for error messages.
        model: Any model.

    Raises:
        ValueError: It has other inputs or outputs, or no graph of layers.
    """
    try:
        shapes = [[tuple(t.shape) for t in x] for x in (model.inputs, model.outputs)]
    except (AttributeError, TypeError, ValueError):  # subclassed, or not built
        raise ValueError(
            "A model must be functional or Sequential, with a known input shape: "
            f"begin a Sequential model with keras.Input. Received: {name}, a "
            f"{type(model).__name__}"
        ) from None
    check_shapes(name, *shapes)


def check_shapes(
    name: str, inputs: Sequence[Sequence[Any]], outputs: Sequence[Sequence[Any]]
) -> None:
    """Checks the input and output shapes of an image classifier.

    Args:
        name: Name of the model, for error messages.
        inputs: Shapes of the model's inputs.
        outputs: Shapes of the model's outputs.

    Raises:
        ValueError: It has other inputs or outputs.
    """
    match [tuple(inputs[0]), tuple(outputs[0])] if inputs and outputs else []:
        case [(_, _, _, 1 | 3 | 4), (_, int())] if len(inputs) == len(outputs) == 1:
            return
    raise ValueError(
        "A model must take one batch of greyscale, RGB or RGBA images, (batch, height, "
        "width, 1, 3 or 4), and return one batch of scores, (batch, classes). "
        f"Received: {name}, inputs {[*inputs]}, outputs {[*outputs]}"
    )


def is_variant(name: str) -> bool:
    """Returns whether a name is the name of a variant."""
    try:
        find_variant(name)
    except ValueError:
        return False
    return True


def split_weights(name: str) -> tuple[str, str | None]:
    """Splits a name such as "EfficientNetB4:noisy-student" into variant and weights.

    Args:
        name: Name of a model, as for `open_model`, with or without weights.

    Returns:
        The first two arguments of `open_model`. Weights are None for an existing path
        and for a name without them.
    """
    variant, colon, weights = name.partition(":")
    if colon and is_variant(variant) and not Path(name).expanduser().exists():
        return variant, weights
    return name, None


def describe_choices(name: str) -> str:
    """Returns the error message for an unknown model name."""
    return (
        "A model must be a run folder (with a model.keras), a .keras or .h5 file, or "
        f"the name of a variant ({', '.join(VARIANTS)}); the commands export.predict "
        "also take a SavedModel, OpenVINO or web folder, a .tflite or .onnx file."
        f"{did_you_mean(name, VARIANTS)} Received: {name}"
    )


def _open(
    model: str | Path | keras.Model, weights: str | None
) -> tuple[str, keras.Model, Sidecars, Path | None]:
    found: tuple[str, keras.Model, Sidecars, Path | None]
    if isinstance(model, keras.Model):
        found = model.name, model, Sidecars(), None
    elif not (path := Path(model).expanduser()).exists() or (
        weights and is_variant(str(model))
    ):
        return _open_variant(str(model), weights)
    elif (path / KERAS_FILE).is_file():
        file = path / KERAS_FILE
        found = str(path), _read_keras(file), _beside(file), path
    elif path.suffix.lower() in KERAS_SUFFIXES and path.is_file():
        found = str(path), _read_keras(path), _beside(path), None
    elif path.is_dir() and (path / "config.json").is_file():
        raise ValueError(
            f"`model` must be a finished run: {path / KERAS_FILE} is missing. "
            f"Received: model={str(model)!r}"
        )
    else:
        raise ValueError(describe_choices(str(model)))
    if weights:
        raise ValueError(
            "`weights` must be None unless `model` is the name of a variant; other "
            f"models contain their own. Received: model={found[0]}, weights={weights}"
        )
    return found


def _open_variant(
    name: str, weights: str | None
) -> tuple[str, keras.Model, Sidecars, Path | None]:
    if not is_variant(name):
        raise ValueError(describe_choices(name))
    key = find_variant(name)
    weights = weights or default_family(key)
    factory = getattr(efficientnet, key)
    if not is_published(weights):
        fields: dict[str, Any] = {"image_size": VARIANTS[key].resolution}
        return key, factory(weights=weights), Sidecars(preprocessing=fields), None
    record = weights_info(key, weights)
    beside = Sidecars(record.class_names, dataclasses.asdict(record.preprocessing))
    return key, factory(weights=weights, classes=record.classes), beside, None


def _calibration(
    name: str, run_folder: Path | None, calibrate: bool, precision: float | None
) -> CalibrationRecord | None:
    record = None
    if calibrate and (run_folder is not None or Path(name).name == KERAS_FILE):
        record = read_calibration(run_folder or Path(name).parent)
    if precision is None:
        return record
    if record is None:
        raise ValueError(
            "`reject_precision` needs a run folder with a calibration.json, and its "
            "calibration must be applied. "
            f"Received: reject_precision={precision}, model={name}"
        )
    if isinstance(record.temperature, tuple):
        raise ValueError(
            "`reject_precision` needs a model with one label per image; the labels of "
            "this one have thresholds of their own. "
            f"Received: reject_precision={precision}, model={name}"
        )
    return record.with_precision(precision)


def _beside(file: Path) -> Sidecars:
    found = read_sidecars(file.resolve().parent)
    if found.belong_to(file):
        return found
    raise ValueError(
        "A model must be in the folder of its own labels.txt and preprocessing.json. "
        f"Received: {file}, in a folder whose sidecars belong to "
        f"{', '.join(found.artefacts or ())}; move the model to a folder of its own"
    )


def _read_keras(path: Path) -> keras.Model:
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"A {path.suffix} file must hold a complete model that Keras can open; use "
            "a weights-only file with a variant: --model=EfficientNetB0 "
            f"--weights=FILE. Received: {path} ({error})"
        ) from error
