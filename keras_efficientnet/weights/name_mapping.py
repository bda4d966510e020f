"""Mapping of weight names and layouts of other projects to ours."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..architecture import MAX_BLOCKS, block_name, read_block_name
from .formats.base import Arrays
from .naming_schemes import (
    NOT_WEIGHTS,
    SCHEMES,
    TORCH_BN,
    BlockLayout,
    Scheme,
    is_depthwise,
)

KERAS = "keras"  # names of keras.applications, which we use, too
_KERAS_MARKER = "stem_conv/kernel"
# Prefixes that mark moving averages: "model_ema.", "swa_model.".
_AVERAGED = re.compile(r"(^|[._/])(ema|swa|averaged?)([._/]|$)")


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Weights by our names, and the names in the file that are not weights."""

    arrays: Arrays  # by "layer/variable", in Keras' layout
    ignored: tuple[str, ...] = ()
    scheme: str = KERAS
    padding: str | None = None  # padding of all networks with such names, if known


def to_model_names(
    arrays: Arrays,
    model: Any = None,
    *,
    ema: bool = True,
    ignore: str | Sequence[str] = (),
) -> Mapped:
    """Renames and transposes weights to fit this package's models.

    A common prefix, such as "module." of a wrapper or a scope, is removed. Counters and
    random states are ignored.

    Args:
        arrays: Weights by their names in the file.
        model: Model that the weights are meant for, used to name blocks that the file
            only numbers. Without it, stages are inferred from shapes.
        ema: Whether to prefer moving averages of the weights, if the file has both.
        ignore: Shell pattern, or several, of names to skip, either as in the file or as
            mapped.

    Raises:
        ValueError: The names follow no known scheme, or belong to several networks.
    """
    patterns = [ignore] if isinstance(ignore, str) else list(ignore)
    kept = {n: a for n, a in arrays.items() if not _is_ignored(n, patterns)}
    ignored = [name for name in arrays if name not in kept]
    inner = _without(kept, _common_prefix(kept))
    for scheme in (None, *SCHEMES):
        prefixes = _prefixes(inner, scheme.marker if scheme else _KERAS_MARKER)
        if not prefixes:
            continue
        prefix, others = _choose_network(prefixes, ema)
        copies = [n for n in inner if _belongs_to(n, others, prefix)]
        network = {n: a for n, a in inner.items() if n not in copies}
        network = _without(network, prefix)
        if scheme is None:
            mapped = _from_keras(network)
        else:
            mapped = _from_scheme(network, scheme, model)
        again = [n for n in mapped.arrays if _is_ignored(n, patterns)]
        return dataclasses.replace(
            mapped,
            arrays={n: a for n, a in mapped.arrays.items() if n not in again},
            ignored=(*ignored, *copies, *mapped.ignored, *again),
        )
    markers = [f"{_KERAS_MARKER!r} ({KERAS})"]
    markers += [f"{scheme.marker!r} ({scheme.name})" for scheme in SCHEMES]
    raise ValueError(
        "Weights must follow a known naming scheme, which has one of "
        f"{', '.join(markers)} among them. "
        f"Received: {len(arrays)} names, {', '.join(list(arrays)[:5]) or 'none'} ..."
    )


def from_torch_layout(layer: str, array: np.ndarray) -> np.ndarray:
    """Transposes a kernel from torch's layout to Keras'.

    Args:
        layer: Our name of the layer.
        array: Kernel of a convolution, (out, in, height, width), of a depthwise
            convolution, (channels, 1, height, width), or of the classifier, (out, in);
            or a vector.

    Returns:
        Kernel, (height, width, in, out), (height, width, channels, 1) or (in, out); or
        the vector.
    """
    if array.ndim == 4:
        axes = (2, 3, 0, 1) if is_depthwise(layer) else (2, 3, 1, 0)
        return array.transpose(axes)
    return array.T


def to_torch_layout(layer: str, array: np.ndarray) -> np.ndarray:
    """Transposes a kernel from Keras' layout to torch's.

    Args:
        layer: Our name of the layer.
        array: Kernel or vector as `from_torch_layout` returns it.
    """
    if array.ndim == 4:
        axes = (2, 3, 0, 1) if is_depthwise(layer) else (3, 2, 0, 1)
        return array.transpose(axes)
    return array.T


def _block_names(model: Any) -> list[str]:
    layers = model.layers if model is not None else ()
    names = [la.name for la in layers if read_block_name(la.name)]
    return list(dict.fromkeys(name.partition("_")[0] for name in names))


def _depthwise_name(model: Any, placed: Iterable[_Place]) -> str:
    """Returns the name of the network's depthwise convolutions.

    It is taken from the model. Without one, or if it ends before them, it is inferred:
    EfficientNetV2 has its own name for them, and alone has both fused blocks and
    squeeze-excite.
    """
    layers = model.layers if model is not None else ()
    own = [la.name.partition("_")[2] for la in layers if is_depthwise(la.name)]
    if own:
        return str(own[0])
    by_block: dict[str | int, set[str]] = {}
    for place in placed:
        if place.block != "":
            by_block.setdefault(place.block, set()).add(place.layer)
    has_fused = any("dwconv" not in layers for layers in by_block.values())
    has_se = any("se_reduce" in layers for layers in by_block.values())
    return "dwconv2" if has_fused and has_se else "dwconv"


def _common_prefix(names: Iterable[str]) -> str:
    listed = list(names)
    # For a single name, the prefix would be the entire name.
    common = os.path.commonprefix(listed) if len(listed) > 1 else ""  # noqa: RUF071
    match = re.match(r".*[./]", common)
    return match[0] if match else ""


def _prefixes(arrays: Iterable[str], marker: str) -> list[str]:
    """Lists the prefixes before the marker, one per copy of the network."""
    found = [n.removesuffix(marker) for n in arrays if n.endswith(marker)]
    return [prefix for prefix in found if not prefix or prefix[-1] in "./"]


def _choose_network(prefixes: list[str], ema: bool) -> tuple[str, list[str]]:
    """Returns the prefix of the network to load, and those of its other copies."""
    averaged = [prefix for prefix in prefixes if _AVERAGED.search(prefix)]
    raw = [prefix for prefix in prefixes if prefix not in averaged]
    wanted = (averaged or raw) if ema else (raw or averaged)
    if len(wanted) != 1:
        listed = ", ".join(repr(prefix) for prefix in wanted)
        raise ValueError(
            "Weights must be of one network; skip the others, for example with "
            f"`ignore={wanted[-1] + '*'!r}`. Received: networks under {listed}"
        )
    return wanted[0], [prefix for prefix in prefixes if prefix != wanted[0]]


def _belongs_to(name: str, others: Sequence[str], prefix: str) -> bool:
    """Returns whether a name belongs to another copy than the one under `prefix`."""
    found = [p for p in (prefix, *others) if name.startswith(p)]
    return max(found, key=len, default=prefix) != prefix


def _is_ignored(name: str, patterns: Sequence[str]) -> bool:
    is_weight = re.split("[./]", name)[-1] not in NOT_WEIGHTS
    return not is_weight or any(fnmatch.fnmatchcase(name, p) for p in patterns)


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
    # Mean and variance of the input are constants in our models, and keras.applications
    # stores standard deviations as the variance.
    ignored = tuple(n for n in arrays if re.match(r"normalization(_\d+)?/", n))
    mapped: Arrays = {}
    for name, array in arrays.items():
        if name not in ignored:
            # qubvel/efficientnet names the classifier "probs".
            _add(mapped, re.sub(r"^probs/", "predictions/", name), array)
    return Mapped(mapped, ignored)


class _Place(NamedTuple):
    """Our name of a weight; `block` is a name, a number, or "" outside of blocks."""

    block: str | int
    layer: str
    variable: str

    def name(self, blocks: Sequence[str]) -> str:
        block = blocks[self.block] if isinstance(self.block, int) else self.block
        return f"{block}{'_' if block else ''}{self.layer}/{self.variable}"


def _from_scheme(arrays: Arrays, scheme: Scheme, model: Any) -> Mapped:
    unknown: Arrays = {}
    placed: dict[_Place, np.ndarray] = {}
    for name in arrays:
        place = _place(name, arrays, scheme)
        if place is None:
            unknown[name] = arrays[name]  # `assign` reports these as unexpected
            continue
        array = arrays[name]
        placed[place] = from_torch_layout(place.layer, array) if scheme.torch else array
    names = _continued(_block_names(model), placed)
    depthwise_name = _depthwise_name(model, placed)
    mapped: Arrays = {}
    for place, array in placed.items():
        if isinstance(place.block, int) and place.block >= len(names):
            _add(unknown, f"block number {place.block}: {place.layer}", array)
        else:
            if place.layer == "dwconv":
                place = place._replace(layer=depthwise_name)
            _add(mapped, place.name(names), array)
    return Mapped({**mapped, **unknown}, (), scheme.name, scheme.padding)


def _place(name: str, arrays: Arrays, scheme: Scheme) -> _Place | None:
    module, _, variable = name.rpartition(scheme.separator)
    match = re.match(scheme.block, module)
    block: str | int | None = ""
    table = scheme.outside
    if match:
        table = _layout(match[0], arrays, scheme).parts
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


def _layout(prefix: str, arrays: Arrays, scheme: Scheme) -> BlockLayout:
    """Returns the kind of block whose marks the file has under a prefix."""

    def has_kernel(module: str) -> bool:
        start = f"{prefix}{module}{scheme.separator}"
        return any(f"{start}{kernel}" in arrays for kernel in scheme.kernel_names)

    found = (la for la in scheme.layouts if all(map(has_kernel, la.marks)))
    return next(found, scheme.layouts[-1])


def _block(place: dict[str, str], first_stage: int) -> str | int | None:
    if "number" in place:
        return int(place["number"])
    stage, index = int(place["stage"]) - first_stage + 1, int(place["index"])
    return block_name(stage, index) if index < MAX_BLOCKS else None


def _continued(
    blocks: Sequence[str], placed: dict[_Place, np.ndarray]
) -> Sequence[str]:
    """Returns names for blocks that the file only numbers.

    These are the names of the model's blocks. If the file has more blocks, as for a
    feature model, further names follow, with stages inferred from kernels.
    """
    signatures: dict[int, list[Any]] = {}
    for place, array in placed.items():
        if isinstance(place.block, int):
            mark = signatures.setdefault(place.block, [None, None, None])
            if place[1:] == ("expand_conv", "kernel"):
                mark[0] = array.shape[:2]
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
