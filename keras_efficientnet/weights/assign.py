"""Strict assignment of arrays to a model's weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..architecture import VARIANTS, block_plan, read_block_name
from .formats.hdf5_keras2 import variable_name

_LISTED = 6  # names listed per kind of mismatch
_HEAD = ("predictions/kernel", "predictions/bias")
_WITH_BACKGROUND = 1001  # ImageNet's classes after a background class


def assign(
    model: Any,
    arrays: Mapping[str, np.ndarray],
    ignored: Iterable[str] = (),
    source: str = "arrays",
    skip_head: bool = False,
) -> None:
    """Sets every weight of a model, each from exactly one array.

    Layers before `stem_conv`, which a model built on an `input_tensor` may have, keep
    their weights. An RGB stem kernel is adapted to other numbers of input channels, and
    a classifier of 1001 classes to 1000 by dropping the first, the background. Arrays
    of the classifier may be unused if the model has none, and so may the head and later
    stages if the model ends in a feature level. A classifier of another name is then
    skipped with a warning.

    Args:
        model: Model of this package.
        arrays: Weights by "layer/variable", in Keras' layout.
        ignored: Names in `arrays` that are not weights.
        source: Origin of the arrays, for error messages.
        skip_head: Whether to keep the classifier's current weights.

    Raises:
        ValueError: A weight has no array or one of the wrong shape, or an array has no
            weight. The model is then unchanged.
    """
    variables = _variables(model)
    leftover = set(ignored)
    given = {k: np.asarray(v) for k, v in arrays.items() if k not in leftover}
    if skip_head:
        for name in _HEAD:
            variables.pop(name, None)
            given.pop(name, None)
    _adapt_stem(given, variables)
    _drop_background(given, variables)
    missing = [name for name in variables if name not in given]
    has_head = any(name in variables for name in _HEAD)
    unexpected = [
        name
        for name in given
        if name not in variables and not _is_pruned(name, variables)
    ]
    heads = _heads(unexpected, given)
    if not has_head:
        unexpected = [name for name in unexpected if name not in heads]
    misshapen = [
        name
        for name, variable in variables.items()
        if name in given and tuple(variable.shape) != given[name].shape
    ]
    if missing or unexpected or misshapen:
        shapes = {
            name: f"{name} {tuple(variables[name].shape)}, not {given[name].shape}"
            for name in misshapen
        }
        complaints = (
            _complaint("missing", missing),
            _complaint("unexpected", unexpected),
            _complaint("of another shape", list(shapes.values())),
            _advice(missing, unexpected, misshapen, variables, given, heads),
        )
        raise ValueError(
            f"Weights must match the model {model.name!r}, each exactly once. "
            f"Received: {source}\n" + "\n".join(filter(None, complaints))
        )
    values = {name: _as_float(name, given[name]) for name in variables}
    if heads:
        warnings.warn(
            f"{source} has a classifier that the model has no layers for; skipped:\n"
            f"{_complaint('arrays', heads)}",
            stacklevel=4,
        )
    _warn_not_finite(values, source)
    for name, variable in variables.items():
        variable.assign(values[name])


def check_network(model: Any) -> None:
    """Checks that a model was built by this package, by its first layers.

    Args:
        model: Keras model.

    Raises:
        ValueError: The model has no layers "stem_conv" and "stem_bn".
    """
    names = [layer.name for layer in model.layers]
    if not {"stem_conv", "stem_bn"} <= set(names):
        raise ValueError(
            "`model` must be a network of this package, with a layer 'stem_conv'. "
            f"Received: model {model.name!r} with layers {', '.join(names[:5])} ..."
        )


def get_weights(model: Any) -> dict[str, np.ndarray]:
    """Returns the weights of a model in the form that `assign` takes.

    Args:
        model: Network of this package.
    """
    return {name: _as_numpy(v) for name, v in _variables(model).items()}


def _as_numpy(variable: Any) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(variable)


def _variables(model: Any) -> dict[str, Any]:
    check_network(model)
    names = [layer.name for layer in model.layers]
    variables: dict[str, Any] = {}
    for layer in model.layers[names.index("stem_conv") :]:
        for weight in layer.weights:
            name = f"{layer.name}/{variable_name(weight.name)}"
            if name in variables:
                raise ValueError(
                    "`model` must not contain another model with weights; load the "
                    f"weights before combining them. Received: layer {layer.name!r}"
                )
            variables[name] = weight
    return variables


def _is_pruned(name: str, variables: Mapping[str, Any]) -> bool:
    """Returns whether an array belongs to a part that the model does not have."""
    layers = {v.split("/")[0] for v in variables}
    layer = name.split("/")[0]
    if layer == "predictions":
        return "predictions" not in layers
    if "top_conv" in layers:
        return False
    if layer in ("top_conv", "top_bn"):
        return True
    # A feature level ends with a complete stage, so additional blocks in a stage that
    # the model has belong to a deeper network.
    stage = _stage(layer)
    return stage is not None and stage > max(_stage(la) or 0 for la in layers)


def _is_foreign(part: str) -> bool:
    """Returns whether the first part of a name does not occur in our models."""
    return not part.startswith(("stem_", "block", "top_"))


def _parts(names: Iterable[str]) -> dict[str, list[str]]:
    """Groups names by their first part, such as "head" of "head.0.weight"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.split("[./]", name)[0], []).append(name)
    return groups


def _heads(unexpected: list[str], given: Mapping[str, np.ndarray]) -> list[str]:
    """Lists the arrays of classifiers with unknown names.

    A classifier consists of dense layers with vectors in between: no kernel has more
    than two dimensions.
    """
    found = []
    for part, names in _parts(unexpected).items():
        dimensions = {given[name].ndim for name in names}
        if _is_foreign(part) and max(dimensions) == 2:
            found += names
    return found


def _stage(layer: str) -> int | None:
    block = read_block_name(layer)
    return block[0] if block else None


def _adapt_stem(given: dict[str, np.ndarray], variables: Mapping[str, Any]) -> None:
    """Adapts an RGB kernel to other channels, preserving the response to grey.

    Source:
        timm, models/_manipulate.py: `adapt_input_conv`.
    """
    name = "stem_conv/kernel"
    kernel, variable = given.get(name), variables.get(name)
    if kernel is None or variable is None or kernel.ndim != 4 or kernel.shape[2] != 3:
        return
    channels = int(variable.shape[2])
    if channels == 3:
        return
    if channels == 1:
        adapted = kernel.sum(axis=2, keepdims=True, dtype=np.float64)
    else:
        adapted = kernel[:, :, np.arange(channels) % 3] * (3 / channels)
    given[name] = adapted.astype(np.float32)


def _drop_background(
    given: dict[str, np.ndarray], variables: Mapping[str, Any]
) -> None:
    classes = _WITH_BACKGROUND
    for name in _HEAD:
        array, variable = given.get(name), variables.get(name)
        if array is None or variable is None or not array.ndim:
            continue
        if (array.shape[-1], int(variable.shape[-1])) == (classes, classes - 1):
            given[name] = array[..., 1:]


def _as_float(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers. Received: {array.dtype}")
    with np.errstate(over="ignore"):  # reported as a non-finite value
        return array.astype(np.float32)


def _warn_not_finite(values: Mapping[str, np.ndarray], source: str) -> None:
    bad = [
        f"{name} ({value.size - finite} of {value.size})"
        for name, value in values.items()
        if (finite := np.count_nonzero(np.isfinite(value))) < value.size
    ]
    if bad:
        warnings.warn(
            f"{source} has values that are not finite:\n{_complaint('in', bad)}",
            stacklevel=5,
        )


def _complaint(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"  {what} ({len(names)}): {', '.join(names[:_LISTED])}{more}"


def _advice(
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
    variables: Mapping[str, Any],
    given: Mapping[str, np.ndarray],
    heads: list[str],
) -> str:
    head = set(_HEAD)
    if set(missing) == head and unexpected == heads and not misshapen:
        has = "has no classifier"
        if heads:
            has = f"calls its classifier {', '.join(_parts(heads))}"
        return (
            f"  The file {has}: load with `skip_head=True`, or build with "
            "`include_top=False` and add a classifier."
        )
    foreign = sorted(f"{part}*" for part in _parts(unexpected) if _is_foreign(part))
    if foreign and not missing and not misshapen:
        return (
            "  Arrays that do not belong to the network are left out by "
            f"`load_weights(..., ignore={foreign[:_LISTED]})`."
        )
    if misshapen and set(misshapen) <= head and not missing and not unexpected:
        return "  " + classes_advice(
            int(variables["predictions/bias"].shape[-1]),
            given["predictions/bias"].size,
        )
    variant = guess_variant(given)
    return f"  The file looks like {variant}." if variant else ""


def classes_advice(model_classes: int, file_classes: int) -> str:
    """Returns advice for weights that were trained on other classes.

    Args:
        model_classes: Number of classes of the model.
        file_classes: Number of classes of the weights.
    """
    return (
        f"The model has {model_classes} classes, the file has {file_classes}: build "
        f"with `classes={file_classes}` and replace the classifier with "
        "`reset_classifier`, build with `include_top=False`, or keep the random "
        "classifier with `skip_head=True`."
    )


def variant_of(model: Any) -> str | None:
    """Returns the key of the variant whose shapes a model has, or None.

    Args:
        model: Model of this package with its head.
    """
    return guess_variant(_variables(model))


def guess_variant(given: Mapping[str, Any]) -> str | None:
    """Returns the key of the variant whose shapes the weights have, or None.

    Args:
        given: Arrays, or other objects with a shape, by "layer/variable".
    """
    stem, top = given.get("stem_conv/kernel"), given.get("top_conv/kernel")
    if stem is None or top is None:
        return None
    blocks = {block for name in given if (block := read_block_name(name))}
    has_se = any("_se_reduce/" in name for name in given)
    marks = (has_se, len(blocks), tuple(stem.shape[3:]), tuple(top.shape[2:]))
    for key, row in VARIANTS.items():
        plan = block_plan(row)
        excites = any(block.se_filters for block in plan)
        head = (plan[-1].filters_out, row.head_filters)
        if marks == (excites, len(plan), (row.stem_filters,), head):
            return key
    return None
