"""Transfer learning: new classifiers, feature extraction, frozen layers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import keras
import numpy as np

from ._compat import to_numpy
from .architecture import read_block_name
from .common.recursion_limit import raised_recursion_limit
from .networks import blocks

T = TypeVar("T")


@raised_recursion_limit()
def feature_extractor(model: keras.Model) -> keras.Model:
    """Returns a model of pooled features, the input of the classifier.

    It shares its layers, and therefore its weights, with `model`.

    Args:
        model: Model built by a factory of this package, with or without top.

    Returns:
        A model from images to features, (batch, channels), float32.

    Raises:
        ValueError: `model` has no `top_activation` layer to pool.
    """
    features = _pooled(model)
    return keras.Model(model.input, features, name=f"{model.name}_features")


@raised_recursion_limit()
def reset_classifier(
    model: keras.Model,
    classes: int,
    *,
    dropout: float = 0.2,
    classifier_activation: Any = "softmax",
) -> keras.Model:
    """Returns a copy of `model` with a new classifier, which starts at zero.

    It shares all other layers, and therefore their weights, with `model`. At first all
    classes have the same probability, and the loss is log(classes).

    Args:
        model: Model built by a factory of this package, with or without top.
        classes: Number of classes of the new classifier, at least 1.
        dropout: Dropout rate before the classifier.
        classifier_activation: Activation of the classifier; None returns logits.

    Returns:
        A model from images to (batch, classes), float32.

    Raises:
        ValueError: `classes` or `dropout` is out of range, or `model` has no
            `top_activation` layer to pool.
    """
    blocks.check_classifier(classes, dropout)
    # The original's initializer suits a thousand classes and random features: with ten
    # classes, on pretrained features, the initial loss is several times log(classes).
    x = blocks.classifier(
        _pooled(model), classes, dropout, classifier_activation, "zeros"
    )
    return keras.Model(model.input, x, name=model.name)


def freeze(
    model: keras.Model, up_to: int | str | None = "top", batch_norm: bool = True
) -> None:
    """Freezes the early part of `model` for fine-tuning.

    Earlier settings, such as `model.trainable = False`, are overridden.

    Args:
        model: Model built by a factory of this package, or one that contains such a
            model as a layer. Your own layers after it count as its classifier, layers
            before it as its stem.
        up_to: Last frozen part: 0 (the stem), a stage from 1 to 7, or "top" (everything
            but the classifier). Later parts become trainable; with None, all parts.
        batch_norm: Whether to freeze all BatchNormalization layers, also after `up_to`.
            Frozen layers use their moving statistics and do not update them, which is
            best for small data sets and small batches.

    Raises:
        ValueError: `up_to` is not one of these, or `model` does not contain a network
            of this package.
    """
    if up_to not in (None, *range(8), "top"):
        raise ValueError(
            "`up_to` must be None, 0 (the stem) to 7, or 'top'. "
            f"Received: up_to={up_to!r}"
        )
    layers = list(leaf_layers(model))
    names = [layer.name for layer in layers]
    ours = [i for i, name in enumerate(names) if _is_ours(name)]
    if not ours:
        raise ValueError(
            "`model` must be a network of this package, with layers such as "
            "'stem_conv', or contain one as a layer. "
            f"Received: a model of {', '.join(names[:5])}"
        )
    # An untrainable model hides the settings of its layers.
    model.trainable = True
    last = -1 if up_to is None else 8 if up_to == "top" else int(up_to)
    for i, layer in enumerate(layers):
        part = stage_of(layer.name)
        if part == 0 and i > ours[0] and not _is_ours(layer.name):
            part = 9  # not ours
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        frozen = part <= last or (batch_norm and is_batch_norm)
        layer.trainable = not frozen


def check_input_range(data: T) -> T:
    """Warns if the first batch of images looks scaled to 0..1 or -1..1.

    The networks take pixels 0 to 255; images divided by 255 train badly without any
    error. Wrap the data that you pass to `fit`: `model.fit(check_input_range(data))`.

    Args:
        data: Images, (batch, height, width, channels); or a tuple or dict of images and
            labels; or a dataset, generator or iterable of such batches, of which only
            the first is checked.

    Returns:
        `data`; for an iterator, an equivalent one that starts with the first batch.
    """
    if isinstance(data, Iterator):
        first = next(data, None)
        if first is None:
            return data
        _warn_if_scaled(first)
        return itertools.chain([first], data)  # type: ignore[return-value]
    is_batch = isinstance(data, tuple | list | Mapping) or hasattr(data, "shape")
    if is_batch:
        _warn_if_scaled(data)
    else:
        for batch in data:  # type: ignore[attr-defined]
            _warn_if_scaled(batch)
            break
    return data


def _warn_if_scaled(batch: Any) -> None:
    while isinstance(batch, tuple | list | Mapping):
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    images = to_numpy(batch).astype(np.float32)
    low, high = float(images.min()), float(images.max())
    if 0 < high <= 1 and low >= -1:
        warnings.warn(
            "Images must be pixels from 0 to 255 because the network normalises them "
            "itself; these look rescaled already. "
            f"Received: images from {low:.3g} to {high:.3g}",
            stacklevel=3,
        )


def _pooled(model: keras.Model) -> Any:
    names = {layer.name for layer in model.layers}
    for name in ("avg_pool", "max_pool"):
        if name in names:
            return model.get_layer(name).output
    if "top_activation" not in names:
        raise ValueError(
            "`model` must be one of this package's networks with its last "
            "convolution, `top_activation`. "
            f"Received: a model whose last layer is {model.layers[-1].name!r}"
        )
    return blocks.pool(model.get_layer("top_activation").output, "avg")


def leaf_layers(layer: Any) -> Iterator[Any]:
    """Yields the layers of a model, expanding nested models and wrappers in place."""
    if isinstance(layer, keras.Model):
        inner = layer.layers
    else:
        # A layer's own attribute `layers` may be anything, or not all of its layers.
        # Keras 2 returns a generator.
        inner = list(layer._flatten_layers(include_self=False, recursive=False))
    for child in inner:
        yield from leaf_layers(child)
    if not inner:
        yield layer


def _is_ours(layer_name: str) -> bool:
    return layer_name.startswith("stem_") or 1 <= stage_of(layer_name) <= 8


def stage_of(layer_name: str) -> int:
    """Returns the part of a layer: 0 stem, 1 to 7 stages, 8 head, 9 classifier."""
    block = read_block_name(layer_name)
    if block:
        return block[0]
    if layer_name.startswith("top_") and layer_name != "top_dropout":
        return 8
    return 9 if layer_name in ("predictions", "top_dropout") else 0
