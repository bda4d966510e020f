"""HDF5 layout of Keras 1 and 2, used by the files of keras.applications.

There is one group per layer, named after the layer. Its attribute `weight_names` lists
the datasets, whose names are "stem_conv/kernel:0", "stem_conv/kernel" or longer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Arrays
from .hdf5 import add_dataset, has_member, member, read_datasets


def is_legacy(file: Any) -> bool:
    """Returns whether an h5py file has this layout."""
    return has_member(file, "model_weights") or _has_names(file, "layer_names")


def read(file: Any) -> Arrays:
    """Reads the weights of every layer.

    Args:
        file: h5py file of weights, or of a complete model with a group "model_weights"
            (optimizer variables are ignored).

    Returns:
        Arrays by "layer/variable", such as "stem_conv/kernel".

    Raises:
        ValueError: The file violates the layout, or holds several models with layers of
            the same names.
    """
    whole = has_member(file, "model_weights")
    group = member(file, "model_weights") if whole else file
    datasets: dict[str, Any] = {}
    for layer in _names(group, "layer_names"):
        layer_group = member(group, layer)
        weights = _names(layer_group, "weight_names")
        owners = {name.split("/")[-2] for name in weights if "/" in name}
        is_model = len(owners) > 1
        for name in weights:
            owner = name.split("/")[-2] if is_model else layer
            dataset = member(layer_group, name)
            add_dataset(datasets, f"{owner}/{variable_name(name)}", dataset)
    return read_datasets(datasets, file)


def variable_name(name: str) -> str:
    """Reduces the name of a variable to its last part, in Keras 3's spelling.

    Args:
        name: Full name, such as "block1a_dwconv/depthwise_kernel:0".

    Example:
        >>> variable_name("block1a_dwconv/depthwise_kernel:0")
        'kernel'
    """
    last = name.split("/")[-1].split(":")[0]
    return "kernel" if last == "depthwise_kernel" else last


def _has_names(group: Any, attribute: str) -> bool:
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _names(group: Any, attribute: str) -> list[str]:
    # An attribute holds 64 kB; longer lists are split over several attributes.
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    elif not _has_names(group, attribute):
        raise ValueError(f"{group.name} has no attribute {attribute!r}")
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    listed = [name for part in parts for name in np.asarray(part).tolist()]
    return [n.decode("utf-8") if isinstance(n, bytes) else str(n) for n in listed]
