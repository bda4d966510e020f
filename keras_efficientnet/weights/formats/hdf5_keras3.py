"""The HDF5 layout of Keras 3, in `.weights.h5` files and `.keras` archives.

Layers lie under "layers/<class>_<n>", numbered within their class in the order of
`model.layers`; their variables under "vars/0", "vars/1" ... Newer versions also write
the layer's name as an attribute of "vars".
"""

from __future__ import annotations

import json
import re
from typing import Any

from .base import Arrays, LayerOrder
from .hdf5 import has_member, member, read_datasets

_BN_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
# Group name: (class name, variables in the order of their indices).
_CLASSES = {
    "conv2d": ("Conv2D", ("kernel", "bias")),
    "depthwise_conv2d": ("DepthwiseConv2D", ("kernel", "bias")),
    "batch_normalization": ("BatchNormalization", _BN_VARIABLES),
    "dense": ("Dense", ("kernel", "bias")),
}
_GROUP = re.compile(r"(?P<kind>.+?)(?:_(?P<index>\d+))?")
# The second was written by Keras 2.13 to 2.15.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


def read(file: Any, order: LayerOrder) -> Arrays:
    """Reads the weights of every layer.

    Args:
        file: An h5py File.
        order: Layers of the model that was saved, or of one whose layers of each
            class come in the same order.

    Returns:
        Arrays by "layer/variable", such as "stem_conv/kernel". Layers that are not in
        `order` keep their group's name, unknown variables their index.

    Raises:
        ValueError: The file does not keep to the layout, or holds a model inside a
            model.
    """
    container = next((name for name in _CONTAINERS if has_member(file, name)), None)
    if container is None:
        held = ", ".join(list(file)[:5]) or "nothing"
        raise ValueError(f"it has no group 'layers'. It holds {held}")
    names = _layer_names(order)
    layers = member(file, container)
    datasets: dict[str, Any] = {}
    for group_name in layers:
        group = member(layers, group_name)
        if any(has_member(group, name) for name in _CONTAINERS):
            raise ValueError(
                f"{group.name} is a model inside a model; save the weights of the "
                "EfficientNet alone"
            )
        if not has_member(group, "vars"):
            continue
        variables = member(group, "vars")
        layer = str(variables.attrs.get("name", names.get(group_name, group_name)))
        for index in variables:
            name = f"{layer}/{_variable_name(group_name, index)}"
            datasets[name] = member(variables, index)
    return read_datasets(datasets, file)


def layer_order(config: bytes) -> LayerOrder:
    """Reads class and name of each layer from an archive's `config.json`.

    The model is not rebuilt from it: no code that the file names is run.

    Args:
        config: Content of the file.

    Raises:
        ValueError: It does not describe a functional or sequential model.
    """
    model = json.loads(config)
    try:
        layers = model["config"]["layers"]
        return [(row["class_name"], row["config"]["name"]) for row in layers]
    except (KeyError, TypeError) as error:
        raise ValueError("its config.json does not list the layers") from error


def _layer_names(order: LayerOrder) -> dict[str, str]:
    names = {}
    for kind, (class_name, _) in _CLASSES.items():
        of_class = [name for cls, name in order if cls == class_name]
        for i, name in enumerate(of_class):
            names[f"{kind}_{i}" if i else kind] = name
    return names


def _variable_name(group_name: str, index: str) -> str:
    match = _GROUP.fullmatch(group_name)
    kind = match["kind"] if match else group_name
    _, variables = _CLASSES.get(kind, ("", ()))
    known = index.isdecimal() and int(index) < len(variables)
    return variables[int(index)] if known else index
