"""Names and layouts of other projects' weight files, turned into ours."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..architecture import MAX_BLOCKS, block_name, read_block_name
from .formats.base import Arrays
from .naming_schemes import COUNTER, SCHEMES, TORCH_BN, Scheme

KERAS = "keras"  # keras.applications' names, which are ours too
_KERAS_MARKER = "stem_conv/kernel"


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Weights under our names, and which names of the file are not weights."""

    arrays: Arrays  # by "layer/variable", laid out as Keras does
    ignored: tuple[str, ...] = ()
    scheme: str = KERAS
    padding: str | None = None  # of every network with such names, if known


def to_model_names(arrays: Arrays, model: Any = None) -> Mapped:
    """Renames and transposes weights to fit this package's models.

    A prefix before all names, such as a wrapper's "module." or a scope, is dropped.

    Args:
        arrays: By the names they have in the file.
        model: Network that the weights are meant for: it tells how blocks are called
            that the file only numbers. Without it, a change of shapes tells.

    Raises:
        ValueError: The names follow no known scheme.
    """
    inner = _without(arrays, _common_prefix(arrays))
    prefix = _prefix(inner, _KERAS_MARKER)
    if prefix is not None:
        return _from_keras(_without(inner, prefix))
    for scheme in SCHEMES:
        prefix = _prefix(inner, scheme.marker)
        if prefix is not None:
            return _from_scheme(_without(inner, prefix), scheme, _block_names(model))
    markers = [f"{_KERAS_MARKER!r} ({KERAS})"]
    markers += [f"{scheme.marker!r} ({scheme.name})" for scheme in SCHEMES]
    raise ValueError(
        "Weights must be named in a known way, with one of "
        f"{', '.join(markers)} among them. "
        f"Received: {len(arrays)} names, {', '.join(list(arrays)[:5]) or 'none'} ..."
    )


def from_torch_layout(layer: str, array: np.ndarray) -> np.ndarray:
    """Transposes a kernel from torch's layout to Keras'.

    Args:
        layer: Our name of the layer.
        array: (out, in, height, width) of a convolution, (channels, 1, height, width)
            of a depthwise one, (out, in) of the classifier, or a vector.

    Returns:
        (height, width, in, out), (height, width, channels, 1), (in, out), or the
        vector.
    """
    if array.ndim == 4:
        depthwise = layer.endswith("dwconv")
        return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return array.T


def to_torch_layout(layer: str, array: np.ndarray) -> np.ndarray:
    """Transposes a kernel from Keras' layout to torch's.

    Args:
        layer: Our name of the layer.
        array: As `from_torch_layout` returns it.
    """
    if array.ndim == 4:
        depthwise = layer.endswith("dwconv")
        return array.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    return array.T


def _block_names(model: Any) -> list[str]:
    suffix = "_dwconv"
    layers = model.layers if model is not None else ()
    return [la.name.removesuffix(suffix) for la in layers if la.name.endswith(suffix)]


def _common_prefix(names: Iterable[str]) -> str:
    listed = list(names)
    # Of one name, all would be common.
    common = os.path.commonprefix(listed) if len(listed) > 1 else ""  # noqa: RUF071
    match = re.match(r".*[./]", common)
    return match[0] if match else ""


def _prefix(arrays: Iterable[str], marker: str) -> str | None:
    """Returns what stands before the marker, or None where the marker is missing."""
    for name in arrays:
        prefix = name.removesuffix(marker)
        if prefix != name and (not prefix or prefix[-1] in "./"):
            return prefix
    return None


def _without(arrays: Arrays, prefix: str) -> Arrays:
    renamed: Arrays = {}
    for name, array in arrays.items():
        _add(renamed, name.removeprefix(prefix), array)
    return renamed


def _add(arrays: Arrays, name: str, array: np.ndarray) -> None:
    if name in arrays:
        raise ValueError(f"Weights must not hold {name} under two names.")
    arrays[name] = array


def _from_keras(arrays: Arrays) -> Mapped:
    # Mean and variance of the input: our models have them as constants, and in
    # keras.applications' files the variance is not one (it holds deviations).
    ignored = tuple(n for n in arrays if re.match(r"normalization(_\d+)?/", n))
    mapped: Arrays = {}
    for name, array in arrays.items():
        if name not in ignored:
            # qubvel/efficientnet calls the classifier "probs".
            _add(mapped, re.sub(r"^probs/", "predictions/", name), array)
    return Mapped(mapped, ignored)


class _Place(NamedTuple):
    """A weight by our names; `block` is a name, a number, or "" outside of blocks."""

    block: str | int
    layer: str
    variable: str

    def name(self, blocks: Sequence[str]) -> str:
        block = blocks[self.block] if isinstance(self.block, int) else self.block
        return f"{block}{'_' if block else ''}{self.layer}/{self.variable}"


def _from_scheme(arrays: Arrays, scheme: Scheme, blocks: Sequence[str]) -> Mapped:
    ignored = dict.fromkeys(name for name in arrays if name.split(".")[-1] == COUNTER)
    unknown: Arrays = {}
    placed: dict[_Place, np.ndarray] = {}
    for name in arrays:
        if name in ignored:
            continue
        place = _place(name, arrays, scheme)
        if place is None:
            unknown[name] = arrays[
                name
            ]  # told as unexpected when it comes to assigning
            continue
        array = arrays[name]
        placed[place] = from_torch_layout(place.layer, array) if scheme.torch else array
    names = _continued(blocks, placed)
    mapped: Arrays = {}
    for place, array in placed.items():
        if isinstance(place.block, int) and place.block >= len(names):
            _add(unknown, f"block number {place.block}: {place.layer}", array)
        else:
            _add(mapped, place.name(names), array)
    return Mapped({**mapped, **unknown}, tuple(ignored), scheme.name, scheme.padding)


def _place(name: str, arrays: Arrays, scheme: Scheme) -> _Place | None:
    module, _, variable = name.rpartition(scheme.separator)
    match = re.match(scheme.block, module)
    block: str | int | None = ""
    table = scheme.outside
    if match:
        kernel = f"{match[0]}{scheme.expanded}{scheme.separator}"
        kernel += "weight" if scheme.torch else "kernel"
        table = scheme.parts if kernel in arrays else scheme.plain_parts
        module = module[match.end() :]
        block = _block(match.groupdict(), scheme.first_stage)
    layer = table.get(module)
    if layer is None or block is None:
        return None
    if scheme.torch:
        names = TORCH_BN if layer.endswith("bn") else {"weight": "kernel"}
        variable = names.get(variable, variable)
    elif variable == "depthwise_kernel":
        variable = "kernel"
    return _Place(block, layer, variable)


def _block(place: dict[str, str], first_stage: int) -> str | int | None:
    if "number" in place:
        return int(place["number"])
    stage, index = int(place["stage"]) - first_stage + 1, int(place["index"])
    return block_name(stage, index) if index < MAX_BLOCKS else None


def _continued(
    blocks: Sequence[str], placed: dict[_Place, np.ndarray]
) -> Sequence[str]:
    """Names blocks that the file only numbers.

    The model's first; after them, as the file may go on where a feature model ends,
    names that continue the stages as far as kernels tell them apart.
    """
    signatures: dict[int, list[Any]] = {}
    for place, array in placed.items():
        if isinstance(place.block, int):
            mark = signatures.setdefault(place.block, [False, None, None])
            if place[1:] == ("expand_conv", "kernel"):
                mark[0] = True
            elif place[1:] == ("dwconv", "kernel"):
                mark[1] = array.shape[:2]
            elif place[1:] == ("project_conv", "kernel"):
                mark[2] = array.shape[3:]
    names = list(blocks) or ["block1a"]
    while len(names) in signatures:
        i = len(names)
        stage, index = read_block_name(names[-1]) or (0, 0)
        if signatures[i] == signatures.get(i - 1) and index + 1 < MAX_BLOCKS:
            names.append(block_name(stage, index + 1))
        else:
            names.append(block_name(stage + 1, 0))
    return names
