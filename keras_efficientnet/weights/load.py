"""From `weights=` to a model that has them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..common.choices import did_you_mean
from ..preprocessing import NORMALIZATIONS, channel_statistics
from .registry.table import WEIGHT_FILES, families_listed, find, known_families
from .registry.weight_file import WeightFile

# What a record says of the network itself.
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
) -> None:
    """Sets all weights of a network from published weights or a file.

    Published weights are downloaded on first use, and their checksum is verified on
    each. The format of a file is told by its content: Keras (`.h5`, `.weights.h5`,
    `.keras`), PyTorch (`.pth`, `.pt`; nothing in it is executed), safetensors, or a
    TensorFlow checkpoint (folder, prefix, `.tar.gz`).

    Args:
        model: Network that a factory of this package has built.
        weights: Family of published weights, such as "imagenet", or path of a file. A
            file that is called like a family is meant by "./imagenet".
        variant: Which network `model` is, such as "EfficientNetB0"; needed for a
            family.
        checksum: "md5:..." or "sha256:..." that the file at a path must have.
        ema: Whether to take moving averages of the weights, where a file has them too.
        skip_head: Whether to leave the classifier as it is, as other classes need it.

    Raises:
        FileNotFoundError: There is no file at the path.
        OSError: The download failed.
        ValueError: The weights are unknown, damaged, or of another network than
            `model`, or were trained with another normalisation or padding. The model's
            weights are then unchanged.
    """
    # Imported here, so that `import keras_efficientnet` stays fast.
    from . import assign, name_mapping
    from .formats import reading

    assign.check_network(model)
    if isinstance(weights, str) and weights in known_families():
        if checksum is not None:
            raise ValueError(
                "`checksum` must be None for published weights, whose checksum is "
                f"always verified. Received: checksum={checksum!r}"
            )
        path, is_verified = _published(model, weights, variant, skip_head)
    else:
        path = _existing_file(weights)
        if checksum is not None:
            from .download import fetch

            fetch.verify(path, checksum)
        is_verified = checksum is not None
    order = [(type(layer).__name__, layer.name) for layer in model.layers]
    if "predictions" not in (name for _, name in order):
        order.append(("Dense", "predictions"))  # which the file may have all the same
    arrays = reading.read(path, order, ema, is_verified)
    try:
        mapped = name_mapping.to_model_names(arrays, model)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    _check_known_file(model, path, skip_head)
    assign.assign(model, mapped.arrays, mapped.ignored, str(path), skip_head)
    _check_padding(model, mapped, path)


def _published(
    model: Any, family: str, variant: str | None, skip_head: bool
) -> tuple[Path, bool]:
    from .download import fetch

    if variant is None:
        raise ValueError(
            f"`variant` must name the network that weights {family!r} are wanted for, "
            "such as 'EfficientNetB0'. A network of your own scaling has no published "
            "weights. Received: variant=None"
        )
    names = {layer.name for layer in model.layers}
    has_head = "predictions" in names and not skip_head
    record = find(family, variant, include_top=has_head)
    check_record(model, record, skip_head)
    return fetch.fetch(record), bool(record.checksum)


def published_options(
    weights: str | os.PathLike[str] | None, variant: str
) -> dict[str, Any]:
    """Returns the arguments of a factory that published weights were trained with.

    Args:
        weights: As in `load_weights`, or None.
        variant: Such as "EfficientNetB0".

    Returns:
        `normalization`, `padding` and `bn_epsilon`, or nothing when `weights` is not a
        family.

    Raises:
        ValueError: The family has no file of the variant.
    """
    if not isinstance(weights, str) or weights not in known_families():
        return {}
    record = find(weights, variant)
    return {name: getattr(record, name) for name in _OPTIONS}


def network_options(model: Any) -> dict[str, Any]:
    """Returns the arguments of a factory that tell what `model` computes.

    Args:
        model: Network of this package.

    Returns:
        `normalization`, "another" where it is none that a factory makes, `padding` and
        `bn_epsilon`.
    """
    layers = {layer.name: layer for layer in model.layers}
    return {
        "normalization": _normalization(layers),
        "padding": _padding(layers),
        "bn_epsilon": layers["stem_bn"].epsilon,
    }


def _check_known_file(model: Any, path: Path, skip_head: bool) -> None:
    """Checks a published file at a path like a family, when its name has its hash."""
    from .assign import variant_of

    for record in WEIGHT_FILES:
        digest = (record.checksum or "").partition(":")[2][:8]
        if digest and digest in path.name and record.filename == path.name:
            if variant_of(model) == record.variant:  # else other advice is better
                check_record(model, record, skip_head)
            return


def _check_padding(model: Any, mapped: Any, path: Path) -> None:
    layers = {layer.name: layer for layer in model.layers}
    padding = _padding(layers)
    if mapped.padding not in (None, padding):
        warnings.warn(
            f"{path}: networks with the weights' names ({mapped.scheme}) have "
            f"`padding={mapped.padding!r}`; this one has {padding!r}, and gives other "
            "scores.",
            stacklevel=4,
        )


def _padding(layers: dict[str, Any]) -> str:
    return "symmetric" if "stem_conv_pad" in layers else "same"


def check_record(model: Any, record: WeightFile, skip_head: bool = False) -> None:
    """Checks that a model computes what published weights were trained for.

    Shapes are not looked at: assigning does that.

    Args:
        model: Network of this package.
        record: Row of the table of published files.
        skip_head: Whether the classifier may have other classes.

    Raises:
        ValueError: The model differs in the normalisation of its input, in padding, in
            the epsilon of batch normalisation, or in the number of classes.
    """
    layers = {layer.name: layer for layer in model.layers}
    for argument, received in network_options(model).items():
        wanted = getattr(record, argument)
        if received != wanted:
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


def _normalization(layers: dict[str, Any]) -> str:
    for kind in NORMALIZATIONS:
        if _normalizes_like(layers, kind):
            return kind
    return "another"


def _normalizes_like(layers: dict[str, Any], kind: str) -> bool:
    layer = layers.get("normalization")
    if layer is None:
        return kind == "none"
    channels = layers["stem_conv"].kernel.shape[2]
    mean, std = map(np.array, channel_statistics(kind, channels))
    scale, offset = np.array(layer.scale), np.array(layer.offset)
    # Broadcast: a hand-made layer may hold one number for all channels.
    return bool(
        np.allclose(scale, 1 / std, rtol=1e-5)
        and np.allclose(offset, -mean / std, rtol=1e-5)
    )


def _existing_file(weights: str | os.PathLike[str]) -> Path:
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
        f"`weights` must be one of {families_listed()}, the path of a file, or None."
        f"{did_you_mean(text, known_families())} Received: weights={text!r}"
    )
