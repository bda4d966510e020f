"""Names and layouts of other projects' weight files, turned into ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .reading import Arrays


@dataclasses.dataclass(frozen=True)
class Mapped:
    """Weights under our names, and which names of the file are not weights."""

    arrays: Arrays  # by "layer/variable", laid out as Keras does
    ignored: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Scheme:
    """One project's way of naming weights."""

    marker: str  # name of the stem's kernel, which tells the scheme
    convert: Callable[[Arrays, Sequence[str]], Mapped]


def to_model_names(arrays: Arrays, model: Any) -> Mapped:
    """Renames and transposes weights to fit this package's models.

    Args:
        arrays: By the names they have in the file.
        model: Network that the weights are meant for: it tells how blocks are called
            that the file only numbers.

    Raises:
        ValueError: The names follow no known scheme.
    """
    suffix = "_dwconv"
    blocks = [la.name.removesuffix(suffix) for la in model.layers if _ends(la, suffix)]
    for scheme in SCHEMES.values():
        if scheme.marker in arrays:
            return scheme.convert(arrays, blocks)
    markers = ", ".join(f"{s.marker!r} ({name})" for name, s in SCHEMES.items())
    raise ValueError(
        f"Weights must be named in a known way, with one of {markers} among them. "
        f"Received: {len(arrays)} names, {', '.join(list(arrays)[:5]) or 'none'} ..."
    )


def _ends(layer: Any, suffix: str) -> bool:
    return layer.name.endswith(suffix)


def _add(arrays: Arrays, name: str, array: np.ndarray) -> None:
    if name in arrays:
        raise ValueError(f"Weights must not hold {name} under two names.")
    arrays[name] = array


def _from_keras(arrays: Arrays, blocks: Sequence[str]) -> Mapped:
    del blocks
    # Mean and variance of the input: our models have them as constants, and in
    # keras.applications' files the variance is not one (it holds deviations).
    ignored = tuple(n for n in arrays if re.match(r"normalization(_\d+)?/", n))
    mapped: Arrays = {}
    for name, array in arrays.items():
        if name not in ignored:
            # qubvel/efficientnet calls the classifier "probs".
            _add(mapped, re.sub(r"^probs/", "predictions/", name), array)
    return Mapped(mapped, ignored)


_LUKEMELAS_LAYERS = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
    "_fc": "predictions",
}
_LUKEMELAS_BLOCK_LAYERS = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_bn",
    "_depthwise_conv": "dwconv",
    "_bn1": "bn",
    "_se_reduce": "se_reduce",
    "_se_expand": "se_expand",
    "_project_conv": "project_conv",
    "_bn2": "project_bn",
}
_TORCH_BN = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def _from_lukemelas(arrays: Arrays, blocks: Sequence[str]) -> Mapped:
    names = _lukemelas_blocks(arrays, blocks)
    mapped: Arrays = {}
    ignored = []
    for name, array in arrays.items():
        if name.endswith(".num_batches_tracked"):
            ignored.append(name)
            continue
        match = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
        layer = None
        if match and match[1] is None:
            layer = _LUKEMELAS_LAYERS.get(match[2])
        elif match and int(match[1]) < len(names):
            part = _LUKEMELAS_BLOCK_LAYERS.get(match[2])
            layer = part and f"{names[int(match[1])]}_{part}"
        if match is None or layer is None:
            mapped[name] = array  # told as unexpected when it comes to assigning
        elif layer.endswith("bn"):
            _add(mapped, f"{layer}/{_TORCH_BN.get(match[3], match[3])}", array)
        else:
            variable = "kernel" if match[3] == "weight" else match[3]
            _add(mapped, f"{layer}/{variable}", from_torch_layout(layer, array))
    return Mapped(mapped, tuple(ignored))


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
        depthwise = layer.endswith("_dwconv")
        return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return array.T


def _lukemelas_blocks(arrays: Arrays, blocks: Sequence[str]) -> list[str]:
    # Names of the model's blocks; after them, as the file may go on where a feature
    # model ends, names that continue the stages as far as kernels tell them apart.
    names = list(blocks)
    while f"_blocks.{len(names)}._project_conv.weight" in arrays and names:
        i = len(names)
        stage, letter = int(names[-1][5:-1]), names[-1][-1]
        if _signature(arrays, i) == _signature(arrays, i - 1):
            names.append(f"block{stage}{chr(ord(letter) + 1)}")
        else:
            names.append(f"block{stage + 1}a")
    return names


def _signature(arrays: Arrays, index: int) -> tuple[Any, ...]:
    # Equal in all blocks of a stage, and different in the next stage.
    prefix = f"_blocks.{index}."
    depthwise = arrays.get(f"{prefix}_depthwise_conv.weight")
    project = arrays.get(f"{prefix}_project_conv.weight")
    return (
        f"{prefix}_expand_conv.weight" in arrays,
        depthwise is not None and depthwise.shape[2:],
        project is not None and project.shape[:1],
    )


# In the order they are tried.
SCHEMES = {
    "keras": Scheme("stem_conv/kernel", _from_keras),
    "lukemelas": Scheme("_conv_stem.weight", _from_lukemelas),
}
