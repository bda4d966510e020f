"""Float ONNX graphs, prepared for quantisation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require_package
from ..runtimes.onnx import open_session
from .qdq import FloatNetwork
from .tensor_matching import match_tensors

_CENTERED = "centered_images"


def prepare_network(packed: bytes, content: bytes, image: np.ndarray) -> FloatNetwork:
    """Simplifies an ONNX graph and finds its tensors in TFLite.

    Args:
        packed: Content of an .onnx file in float32.
        content: Content of a .tflite file in float32 of the same network.
        image: Calibration image, (height, width, channels), 0 to 255.

    Returns:
        The network.
    """
    model = _optimize(packed)
    _drop_reshapes(model)
    _transpose_kernels(model)
    names = match_tensors(model, content, image)
    chain = _normalization(model.graph)
    # If TFLite normalises images too, its first layer has the same input.
    if not chain or chain[-1].input[0] in names:
        return FloatNetwork(model, names)
    border = _center_images(model, chain)
    first = FloatNetwork(model, names).output(chain[-1])
    if first not in names:
        return FloatNetwork(model, names)
    span = (-float(border.max()), 255 - float(border.min()))
    return FloatNetwork(
        model,
        names,
        ranges=dict.fromkeys((_CENTERED, chain[-1].input[0]), span),
        shifts={names[first]: border},
    )


def _optimize(packed: bytes) -> Any:
    # Constants are folded, and scaling and bias become part of the layers.
    onnx = require_package("onnx", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        open_session(packed, optimized=path)
        model = onnx.load(str(path))
    kept = [x for x in model.opset_import if not x.domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _drop_reshapes(model: Any) -> None:
    # Reshapes of (batch, channels, 1, 1) to itself, which remain where there was a
    # transposition.
    onnx = require_package("onnx", "onnx")
    typed = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        x.name: [d.dim_value for d in x.type.tensor_type.shape.dim][1:]
        for x in typed.value_info
    }
    targets = {
        x.name: onnx.numpy_helper.to_array(x).tolist()
        for x in model.graph.initializer
        if x.data_type == onnx.TensorProto.INT64
    }
    same: dict[str, str] = {}
    for node in list(model.graph.node):
        node.input[:] = [same.get(name, name) for name in node.input]
        target = targets.get(node.input[1], []) if node.op_type == "Reshape" else []
        is_open = len(target) == 4 and target[0] == -1 and 0 not in target
        if is_open and target[1:] == shapes.get(node.input[0]):
            same[node.output[0]] = node.input[0]
            model.graph.node.remove(node)


def _transpose_kernels(model: Any) -> None:
    # Outputs first, as in TFLite; otherwise OpenVINO transposes at run time.
    onnx = require_package("onnx", "onnx")
    constants = {x.name: x for x in model.graph.initializer}
    for node in model.graph.node:
        flags = {x.name: x for x in node.attribute}
        is_transposed = "transB" in flags and flags["transB"].i
        if node.op_type != "Gemm" or is_transposed or node.input[1] not in constants:
            continue
        kernel = onnx.numpy_helper.to_array(constants[node.input[1]]).T
        name = f"{node.output[0]}_float_kernel"
        node.input[1] = name
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.ascontiguousarray(kernel), name)
        )
        if "transB" in flags:
            node.attribute.remove(flags["transB"])
        node.attribute.append(onnx.helper.make_attribute("transB", 1))


def _normalization(graph: Any) -> list[Any]:
    """Returns the nodes from the images to the first convolution, if they normalise."""
    constants = {x.name for x in graph.initializer}
    name, chain = graph.input[0].name, []
    while True:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1:
            return []
        (node,) = readers
        chain.append(node)
        if node.op_type == "Conv" and node.input[0] == name:
            return chain
        is_affine = node.op_type in ("Mul", "Add") and node.input[1] in constants
        if not (is_affine or node.op_type == "Transpose"):
            return []
        name = node.output[0]


def _center_images(model: Any, chain: Sequence[Any]) -> np.ndarray:
    """Replaces the normalisation by a subtraction; the convolution absorbs the rest.

    Then images are integers almost without rounding, and padding with zeros is right.

    Args:
        model: ONNX model; it is changed.
        chain: Nodes from the images to the first convolution.

    Returns:
        Subtracted colour, (channels,), float64.
    """
    onnx = require_package("onnx", "onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = model.graph
    constants = {x.name: x for x in graph.initializer}

    def value(name: str) -> np.ndarray:
        return np.asarray(numpy_helper.to_array(constants[name]), np.float64)

    *before, conv = chain
    kernel = value(conv.input[1])
    scale, offset = np.ones(kernel.shape[1]), np.zeros(kernel.shape[1])
    for node in before:
        if node.op_type == "Mul":
            factor = value(node.input[1]).ravel()
            scale, offset = scale * factor, offset * factor
        elif node.op_type == "Add":
            offset = offset + value(node.input[1]).ravel()
    border = -offset / scale
    subtract = helper.make_node(
        "Sub", [graph.input[0].name, f"{_CENTERED}_border"], [_CENTERED], _CENTERED
    )
    transpose = next(x for x in before if x.op_type == "Transpose")
    for node in before:
        if node is not transpose:
            graph.node.remove(node)
    transpose.input[0] = _CENTERED
    graph.node.insert(0, subtract)
    conv.input[0], conv.input[1] = transpose.output[0], f"{_CENTERED}_kernel"
    kernel = (kernel * scale[:, np.newaxis, np.newaxis]).astype(np.float32)
    graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for array, name in (
            (border.astype(np.float32), f"{_CENTERED}_border"),
            (kernel, f"{_CENTERED}_kernel"),
        )
    )
    return border
