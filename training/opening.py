"""What a user names as a model -> the model, and what is known about it."""

from __future__ import annotations

import dataclasses
import pathlib

import keras

import keras_efficientnet
from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.recursion_limit import deep_graphs
from keras_efficientnet.preprocessing import EvalPreprocessing, imagenet_classes
from keras_efficientnet.weights.registry.table import known_families

from .reporting import run_folder


@dataclasses.dataclass(frozen=True)
class OpenedModel:
    """A trained model and what is known about it.

    Attributes:
        model: From images, 0 to 255, to probabilities, (batch, classes).
        preprocessing: How its images are prepared; None: not known.
        class_names: In index order, WordNet ids for ImageNet's; None: not known.
    """

    model: keras.Model
    preprocessing: EvalPreprocessing | None
    class_names: tuple[str, ...] | None


@deep_graphs()
def open_model(name: str, weights: str = "") -> OpenedModel:
    """Opens a run folder, a .keras file or a variant with published weights.

    Args:
        name: Path of the run folder or the file, or "EfficientNetLite0" and the like.
        weights: For a variant: "imagenet" or another published family, or a file.

    Raises:
        ValueError: There is no such model, or `weights` does not go with it.
    """
    place = pathlib.Path(name).expanduser()
    if weights:
        return _open_variant(name, weights)
    if place.is_dir() and not (place / "model.keras").is_file():
        raise ValueError(
            f"`model` must be a finished run: {place / 'model.keras'} is missing. "
            f"Received: model={name!r}"
        )
    file = place / "model.keras" if place.is_dir() else place
    if file.suffix != ".keras" or not file.is_file():
        raise ValueError(
            "`model` must be a run folder, a .keras file, or the name of a variant "
            f"together with `weights`. Received: model={name!r}"
        )
    model, folder = keras.saving.load_model(file), run_folder.RunFolder(file.parent)
    known = folder.preprocessing.is_file()
    names = folder.read_labels() if folder.labels.is_file() else None
    if names is None and model.output_shape[-1] == 1000:
        names = tuple(wnid for wnid, _ in imagenet_classes())
    return OpenedModel(model, folder.read_preprocessing() if known else None, names)


def _open_variant(name: str, weights: str) -> OpenedModel:
    variant = find_variant(name)
    model = getattr(keras_efficientnet, variant)(weights=weights)
    spec = EvalPreprocessing(model.input_shape[1])
    if weights in known_families():
        spec = keras_efficientnet.weights_info(variant, weights).preprocessing
    return OpenedModel(model, spec, tuple(wnid for wnid, _ in imagenet_classes()))
