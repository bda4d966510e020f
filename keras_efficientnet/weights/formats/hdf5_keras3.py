"""HDF5 layout of Keras 3, used by `.weights.h5` files and `.keras` archives.

Layers are stored under "layers/<class>_<n>", numbered within their class in the order
of `model.layers`, and their variables under "vars/0", "vars/1" ... Newer versions also
store the layer's name as an attribute of "vars". Nested models have their own "layers".
"""

from __future__ import annotations

import json
import re
from typing import Any

from .base import Arrays, LayerOrder
from .hdf5 import add_dataset, has_member, member, read_datasets

_BN_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
# Group name: (class name, variables in index order).
_CLASSES = {
    "conv2d": ("Conv2D", ("kernel", "bias")),
    "depthwise_conv2d": ("DepthwiseConv2D", ("kernel", "bias")),
    "batch_normalization": ("BatchNormalization", _BN_VARIABLES),
    "dense": ("Dense", ("kernel", "bias")),
}
_GROUP = re.compile(r"(?P<kind>.+?)(?:_(?P<index>\d+))?")
# The second name was used by Keras 2.13 to 2.15.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_MAX_GROUPS = 20_000  # hard links can multiply a few groups without end
_MAX_NESTING = 8  # depth of nested models


def read(file: Any, order: LayerOrder) -> Arrays:
    """Reads the weights of every layer, including nested models.

    Args:
        file: h5py file.
        order: Layers of the saved network, or of one with the same order of layers
            within each class.

    Returns:
        Arrays by "layer/variable", such as "stem_conv/kernel". Layers that are not in
        `order` keep the name of their group, and unknown variables their index.

    Raises:
        ValueError: The file violates the layout, or holds several networks.
    """
    containers = _containers(file)
    if not containers:
        held = ", ".join(list(file)[:5]) or "nothing"
        raise ValueError(f"it has no group 'layers'. It holds {held}")
    datasets: dict[str, Any] = {}
    for layers in containers:
        # `order` numbers the layers of the network, not those of an enclosing model.
        is_network = len(containers) == 1 or has_member(layers, "depthwise_conv2d")
        names = _layer_names(order) if is_network else {}
        for group_name in layers:
            group = member(layers, group_name)
            if not has_member(group, "vars"):
                continue
            variables = member(group, "vars")
            layer = str(variables.attrs.get("name", names.get(group_name, group_name)))
            for index in variables:
                name = f"{layer}/{_variable_name(group_name, index)}"
                add_dataset(datasets, name, member(variables, index))
    return read_datasets(datasets, file)


def _containers(file: Any) -> list[Any]:
    """Lists the groups of layers: that of the model and those of nested models."""
    found, visited = [], 0
    pending = [(file, 0)]
    while pending:
        group, depth = pending.pop()
        name = next((name for name in _CONTAINERS if has_member(group, name)), None)
        if name is None:
            continue
        layers = member(group, name)
        found.append(layers)
        visited += len(layers)
        if depth == _MAX_NESTING or visited > _MAX_GROUPS:
            raise ValueError("its models are nested too deeply or have too many layers")
        pending += [(member(layers, inner), depth + 1) for inner in layers]
    return found


def read_layer_order(config: bytes) -> LayerOrder:
    """Reads the class and name of each layer from an archive's `config.json`.

    If a model contains an EfficientNet as a layer, the layers of that EfficientNet are
    returned. The model is not rebuilt, so no code that the file refers to is executed.

    Args:
        config: Content of the file.

    Raises:
        ValueError: The content does not describe a functional or Sequential model.
    """
    model = json.loads(config)
    try:
        return _network_order(model) or _order(model)
    except (KeyError, TypeError) as error:
        raise ValueError("its config.json does not list the layers") from error


def _order(model: Any) -> LayerOrder:
    layers = model["config"]["layers"]
    return [(row["class_name"], row["config"]["name"]) for row in layers]


def _network_order(model: Any) -> LayerOrder | None:
    order = _order(model)
    if ("Conv2D", "stem_conv") in order:
        return order
    inner = [row for row in model["config"]["layers"] if "layers" in row["config"]]
    return next(filter(None, map(_network_order, inner)), None)


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
