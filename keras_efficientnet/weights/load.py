"""Loading of published weights and weight files into models."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..architecture import NORMALIZATION_LAYER
from ..common.choices import did_you_mean
from ..preprocessing import NORMALIZATIONS, channel_statistics
from .registry.repository import HUB_PREFIX
from .registry.table import (
    families_listed,
    find,
    find_published_file,
    is_published,
    known_families,
)
from .registry.weight_file import WeightFile

# Name in `.keras` files of earlier versions, and Keras' default name of such a layer.
_OLD_NORMALIZATION_LAYER = "normalization"
# Fields of a record that describe the network.
_OPTIONS = ("normalization", "padding", "bn_epsilon")
_SUFFIXES = (
    ".h5",
    ".hdf5",
    ".keras",
    ".pth",
    ".pt",
    ".bin",
    ".safetensors",
    ".gz",
    ".tar",
)


def load_weights(
    model: Any,
    weights: str | os.PathLike[str],
    variant: str | None = None,
    checksum: str | None = None,
    ema: bool = True,
    skip_head: bool = False,
    *,
    ignore: str | Sequence[str] = (),
    check_normalization: bool = True,
) -> None:
    """Loads published weights or a weight file into a model.

    Published weights are downloaded on first use, and their checksum is verified on
    every use. The format of a file is detected from its content: Keras (`.h5`,
    `.weights.h5`, `.keras`), PyTorch (`.pth`, `.pt`; no code in it is executed),
    safetensors, or a TensorFlow checkpoint (folder, prefix, `.tar.gz`). A Keras file
    may contain a larger model with one EfficientNet as a layer.

    Args:
        model: Model built by a factory of this package.
        weights: Family of published weights, such as "imagenet"; a repository of a
            timm model on the Hugging Face Hub, "hf://OWNER/NAME" or
            "hf://OWNER/NAME@REVISION"; or path of a file. For a file with the name of a
            family, pass "./imagenet".
        variant: Variant of `model`, such as "EfficientNetB0"; required for published
            families.
        checksum: Expected checksum of the file, "md5:..." or "sha256:...".
        ema: Whether to prefer moving averages of the weights, if the file has them.
        skip_head: Whether to keep the current classifier, for a model with other
            classes.
        ignore: Shell pattern, or several, of arrays in the file that do not belong to
            the network, such as "optimizer*". Use the names in the file or those listed
            as unexpected in the error message.
        check_normalization: Whether `model` must normalise its input as the published
            weights expect. Pass False if you normalise the images yourself.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The download failed.
        ValueError: The weights are unknown or damaged, belong to another network, or
            were trained with another normalisation or padding. The model is then
            unchanged.

    Warns:
        UserWarning: A classifier in the file has no counterpart in `model` and is
            skipped, as with `include_top=False`; or the names suggest another padding;
            or values are not finite.
    """
    # Imported here so that `import keras_efficientnet` stays fast.
    from . import assign

    assign.check_network(model)
    if not isinstance(weights, str) or not is_published(weights):
        path = existing_file(weights)
        if checksum is not None:
            from .download import checksums

            checksums.verify(path, checksum)
        checked = checksum is not None
        _load_file(model, path, checked, ema, skip_head, ignore, check_normalization)
        return
    if checksum is not None:
        raise ValueError(
            "`checksum` must be None for published weights, whose checksum is "
            f"always verified. Received: checksum={checksum!r}"
        )
    record = _record_for(model, weights, variant, skip_head)
    load_published(model, record, ema, skip_head, ignore, check_normalization)


def _record_for(
    model: Any, weights: str, variant: str | None, skip_head: bool
) -> WeightFile:
    if variant is None and weights.startswith(HUB_PREFIX):
        from .download import hub

        return hub.find_record(weights)
    if variant is None:
        raise ValueError(
            f"`variant` must name the network to load weights {weights!r} for, "
            "such as 'EfficientNetB0'. Networks with custom scaling have no published "
            "weights. Received: variant=None"
        )
    names = {layer.name for layer in model.layers}
    has_head = "predictions" in names and not skip_head
    return find(weights, variant, include_top=has_head)


def load_published(
    model: Any,
    record: WeightFile,
    ema: bool = True,
    skip_head: bool = False,
    ignore: str | Sequence[str] = (),
    check_normalization: bool = True,
) -> None:
    """Loads a published weight file into a model.

    Args:
        model: Model built by a factory of this package.
        record: Record of the published file.
        ema: Whether to prefer moving averages, as in `load_weights`.
        skip_head: Whether to keep the current classifier, as in `load_weights`.
        ignore: Patterns of arrays to skip, as in `load_weights`.
        check_normalization: Whether the normalisation must match, as in `load_weights`.

    Raises:
        OSError: The download failed.
        ValueError: The weights do not match the model.
    """
    from .download import fetch

    check_record(model, record, skip_head, check_normalization)
    path = fetch.fetch(record)
    is_verified = bool(record.checksum)
    _load_file(model, path, is_verified, ema, skip_head, ignore, check_normalization)


def _load_file(
    model: Any,
    path: Path,
    is_verified: bool,
    ema: bool,
    skip_head: bool,
    ignore: str | Sequence[str],
    check_normalization: bool,
) -> None:
    from . import assign, name_mapping
    from .formats import reading
    from .formats.base import layer_order

    order = layer_order(model)
    if "predictions" not in (name for _, name in order):
        order.append(("Dense", "predictions"))  # the file may have one anyway
    arrays = reading.read(path, order, ema, is_verified)
    try:
        mapped = name_mapping.to_model_names(arrays, model, ema=ema, ignore=ignore)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    _check_known_file(model, path, skip_head, check_normalization)
    assign.assign(model, mapped.arrays, mapped.ignored, str(path), skip_head)
    _check_padding(model, mapped, path)


def published(
    weights: str | os.PathLike[str] | None, variant: str, include_top: bool = True
) -> WeightFile | None:
    """Returns the record of published weights; None for paths and `weights=None`.

    Args:
        weights: Family, repository or path, as in `load_weights`, or None.
        variant: Name of the variant, such as "EfficientNetB0".
        include_top: Whether the model has a classifier to load.

    Raises:
        OSError: The repository could not be reached.
        ValueError: The family has no weights for the variant.
    """
    if not isinstance(weights, str) or not is_published(weights):
        return None
    return find(weights, variant, include_top)


def published_options(
    weights: str | os.PathLike[str] | None, variant: str
) -> dict[str, Any]:
    """Returns the factory arguments that published weights were trained with.

    Args:
        weights: Family, repository or path, as in `load_weights`, or None.
        variant: Name of the variant, such as "EfficientNetB0".

    Returns:
        `normalization`, `padding` and `bn_epsilon`; empty for a path and for None.

    Raises:
        ValueError: The family has no weights for the variant.
    """
    record = published(weights, variant)
    return {name: getattr(record, name) for name in _OPTIONS} if record else {}


def network_options(model: Any) -> dict[str, Any]:
    """Returns the factory arguments that determine what a model computes.

    Args:
        model: Model of this package.

    Returns:
        `normalization` ("another" if it is not one of the factories'), `padding` and
        `bn_epsilon`.
    """
    layers = {layer.name: layer for layer in model.layers}
    return {
        "normalization": _normalization(layers),
        "padding": _padding(layers),
        "bn_epsilon": layers["stem_bn"].epsilon,
    }


def _check_known_file(
    model: Any, path: Path, skip_head: bool, check_normalization: bool = True
) -> None:
    """Applies the checks of published weights to a path whose name has a known hash."""
    from .assign import variant_of

    record = find_published_file(path)
    # For another network, the later errors give better advice.
    if record and variant_of(model) == record.variant:
        check_record(model, record, skip_head, check_normalization)


def _check_padding(model: Any, mapped: Any, path: Path) -> None:
    layers = {layer.name: layer for layer in model.layers}
    padding = _padding(layers)
    if mapped.padding not in (None, padding):
        warnings.warn(
            f"{path}: networks with these weight names ({mapped.scheme}) use "
            f"`padding={mapped.padding!r}`; this one uses {padding!r}, so its "
            "scores will differ.",
            stacklevel=4,
        )


def _padding(layers: dict[str, Any]) -> str:
    return "symmetric" if "stem_conv_pad" in layers else "same"


def check_record(
    model: Any,
    record: WeightFile,
    skip_head: bool = False,
    check_normalization: bool = True,
) -> None:
    """Checks that a model has the options that published weights were trained with.

    Shapes are checked later, by `assign`.

    Args:
        model: Model of this package.
        record: Record of the published file.
        skip_head: Whether to allow another number of classes.
        check_normalization: Whether the normalisation of the input must match.

    Raises:
        ValueError: The model differs in input normalisation, padding, epsilon of batch
            normalisation, or number of classes.
    """
    layers = {layer.name: layer for layer in model.layers}
    for argument, received in network_options(model).items():
        wanted = getattr(record, argument)
        is_checked = check_normalization or argument != "normalization"
        if is_checked and received != wanted:
            raise ValueError(
                f"`{argument}` must be {wanted!r} for weights {record.family!r} of "
                f"{record.variant}. Received: {argument}={received!r}"
            )
    head = layers.get("predictions")
    if head is not None and head.units != record.classes and not skip_head:
        from .assign import classes_advice

        raise ValueError(
            f"`classes` must be {record.classes} for weights {record.family!r} of "
            f"{record.variant}. {classes_advice(head.units, record.classes)} "
            f"Received: classes={head.units}"
        )


def normalization_layer(layers: dict[str, Any]) -> Any:
    """Returns the input normalisation layer, or None.

    Args:
        layers: Layers of a model of this package, by name.
    """
    for name in (NORMALIZATION_LAYER, _OLD_NORMALIZATION_LAYER):
        if type(layers.get(name)).__name__ == "Rescaling":
            return layers[name]
    return None


def _normalization(layers: dict[str, Any]) -> str:
    for kind in NORMALIZATIONS:
        if _normalizes_like(layers, kind):
            return kind
    return "another"


def _normalizes_like(layers: dict[str, Any], kind: str) -> bool:
    layer = normalization_layer(layers)
    if layer is None:
        return kind == "none"
    channels = layers["stem_conv"].kernel.shape[2]
    mean, std = map(np.array, channel_statistics(kind, channels))
    scale, offset = np.array(layer.scale), np.array(layer.offset)
    # Broadcast, because a user's layer may have one number for all channels.
    return bool(
        np.allclose(scale, 1 / std, rtol=1e-5)
        and np.allclose(offset, -mean / std, rtol=1e-5)
    )


def existing_file(weights: str | os.PathLike[str]) -> Path:
    """Returns the path of an existing weight file or checkpoint.

    Args:
        weights: Path of a weight file, or of a checkpoint's folder or prefix.

    Raises:
        FileNotFoundError: There is no file at the path.
        ValueError: The name is neither a path nor a family of published weights.
    """
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(
            "`weights` must be a family of published weights, a path, or None. "
            f"Received: weights={weights!r}"
        )
    from .formats import tf_checkpoint

    path = Path(weights).expanduser()
    if path.is_file() or tf_checkpoint.is_checkpoint(path):
        return path
    if path.is_dir():
        raise ValueError(
            "`weights` must be a file, or the folder of a TensorFlow checkpoint with a "
            f"file *.index. Received: weights={path}"
        )
    text = os.fspath(weights)
    is_path = path.suffix in _SUFFIXES or "/" in text or os.sep in text
    if is_path or isinstance(weights, os.PathLike):
        raise FileNotFoundError(
            f"`weights` must be the path of a file. Received: weights={text!r}, which "
            "does not exist"
        )
    raise ValueError(
        f"`weights` must be one of {families_listed()}, the path of a file, a "
        "repository 'hf://OWNER/NAME', or None."
        f"{did_you_mean(text, known_families())} Received: weights={text!r}"
    )
