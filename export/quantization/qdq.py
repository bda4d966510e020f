"""Integer ONNX graphs in QDQ form.

They are float graphs with pairs of QuantizeLinear and DequantizeLinear, which runtimes
fuse with the operations in between into integer kernels.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..extras import require_package
from .calibration import Ranges
from .gptq import STEPS, Kernels
from .tflite_graph import Kind

LAYERS = ("Conv", "Gemm", "MatMul")
_SHAPES = ("Squeeze", "Reshape", "Transpose")
_ACTIVATIONS = ("Clip", "Relu")  # part of the layer before them
# Without VNNI, x86 adds pairs of products of 8 bits in 16 bits with saturation:
# 2 * 255 * 64 still fits. Depthwise convolutions have no pairs.
SAFE_STEPS = 64
# A bias is stored in 32 bits; half of them leave room for the products.
_MAX_BIAS = 2**30


def count_steps(kind: int) -> int:
    """Returns the steps between zero and the greatest weight of a TFLite layer."""
    return STEPS if kind == Kind.DEPTHWISE_CONV_2D else SAFE_STEPS


@dataclasses.dataclass(frozen=True)
class Placement:
    """Operations that a runtime computes in integers.

    Attributes:
        kinds: ONNX operations whose inputs are integers.
        rounds_outputs: Whether their outputs must be integers too. If not, a tensor
            is an integer only if one of these operations reads it.
        rounds_swish: Whether both operations of swish are among them.
    """

    kinds: tuple[str, ...]
    rounds_outputs: bool
    rounds_swish: bool


class FloatNetwork:
    """Network in ONNX whose tensors have counterparts in TFLite.

    Args:
        model: ONNX model in float32.
        names: Name of a tensor in ONNX -> its name in TFLite.
        ranges: Ranges of tensors that TFLite does not have, by name in ONNX.
        shifts: Output of a layer in TFLite -> constant that is subtracted from the
            layer's input in ONNX but not in TFLite, (channels,).
    """

    def __init__(
        self,
        model: Any,
        names: Mapping[str, str],
        ranges: Ranges | None = None,
        shifts: Mapping[str, np.ndarray] | None = None,
    ):
        onnx = require_package("onnx", "onnx")
        self.model = model
        self.names = names
        self.ranges = ranges or {}
        self.shifts = shifts or {}
        self.nodes: list[Any] = list(model.graph.node)
        self.constants: dict[str, np.ndarray] = {
            x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer
        }
        self.readers: dict[str, list[Any]] = collections.defaultdict(list)
        self.writers = {name: node for node in self.nodes for name in node.output}
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)

    def output(self, node: Any) -> str:
        """Returns the output of a node and its activation."""
        name = str(node.output[0])
        readers = self.readers[name]
        if node.op_type in LAYERS and len(readers) == 1:
            (after,) = readers
            if after.op_type in _ACTIVATIONS:
                return str(after.output[0])
        return name

    def inputs(self, node: Any) -> list[str]:
        """Returns the inputs of a node that are no constants."""
        return [x for x in node.input if x and x not in self.constants]

    def is_swish(self, node: Any) -> bool:
        """Returns whether a node is the sigmoid or the product in x * sigmoid(x)."""
        if node.op_type == "Sigmoid":
            readers = self.readers[node.output[0]]
            return len(readers) == 1 and self.is_swish(readers[0])
        gates = [self.writers.get(name) for name in node.input]
        return node.op_type == "Mul" and any(
            x is not None and x.op_type == "Sigmoid" and x.input[0] in node.input
            for x in gates
        )

    def is_layer(self, node: Any) -> bool:
        """Returns whether a node has a constant kernel."""
        return node.op_type in LAYERS and node.input[1] in self.constants


class QdqWriter:
    """Writes the integer graph of a network.

    Args:
        network: Network in float32.
        ranges: Ranges of tensors, by name in TFLite.
        kernels: Rounded kernels and biases, by the output of the layer in TFLite.
        kept: Tensors in TFLite whose operations stay in float32.
        placement: Operations that are computed in integers.
    """

    def __init__(
        self,
        network: FloatNetwork,
        ranges: Ranges,
        kernels: Kernels,
        kept: Collection[str],
        placement: Placement,
    ):
        self._onnx = require_package("onnx", "onnx")
        self._network = network
        self._ranges = {
            name: ranges[twin] for name, twin in network.names.items() if twin in ranges
        } | network.ranges
        self._kernels, self._kept, self._placement = kernels, kept, placement
        self._integer = [node for node in network.nodes if self._is_integer(node)]
        self._ids = set(map(id, self._integer))
        self._nodes: list[Any] = []
        self._constants = dict(network.constants)
        self._integers = self._find_integers()

    def write(self) -> Any:
        """Returns the ONNX model."""
        for name in (x.name for x in self._network.model.graph.input):
            self._round(name)
        for node in self._network.nodes:
            copy = type(node)()
            copy.CopyFrom(node)
            if id(node) in self._ids and self._network.is_layer(node):
                self._round_layer(node, copy)
            for i, name in enumerate(node.input):
                if name in self._integers:
                    copy.input[i] = _dequantized(name)
            self._nodes.append(copy)
            for name in node.output:
                self._round(name)
        model = type(self._network.model)()
        model.CopyFrom(self._network.model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        model.graph.initializer.extend(
            self._onnx.numpy_helper.from_array(value, name)
            for name, value in self._constants.items()
            if name in used
        )
        return model

    def _is_integer(self, node: Any) -> bool:
        network = self._network
        if node.op_type not in self._placement.kinds:
            return False
        if network.is_swish(node) and not self._placement.rounds_swish:
            return False
        output = network.output(node)
        constants = [network.constants.get(name) for name in node.input]
        is_plain = all(x is None or x.dtype.kind == "i" for x in constants)
        return (
            (network.is_layer(node) or is_plain)
            and output in self._ranges
            and network.names.get(output) not in self._kept
            and all(name in self._ranges for name in network.inputs(node))
        )

    def _find_integers(self) -> set[str]:
        found = set()
        for node in self._integer:
            found.update(self._network.inputs(node))
        for node in self._integer:
            output = self._network.output(node)
            if node.op_type in _SHAPES and not self._placement.rounds_outputs:
                found.discard(output)  # it has the values of the input
            elif self._placement.rounds_outputs:
                is_read = any(id(x) in self._ids for x in self._network.readers[output])
                # Runtimes have kernels from integers to floats for matrix products.
                if is_read or node.op_type not in ("Gemm", "MatMul"):
                    found.add(output)
        return found

    def _round(self, name: str) -> None:
        """Adds the pair of nodes that rounds a tensor, if it is an integer."""
        if name not in self._integers:
            return
        scale, zero = self._step(name)
        self._constants[f"{name}_scale"] = np.array(scale, np.float32)
        self._constants[f"{name}_zero"] = np.array(zero, np.uint8)
        self._pair(name, "QuantizeLinear", name, _quantized(name))
        self._pair(name, "DequantizeLinear", _quantized(name), _dequantized(name))

    def _pair(self, name: str, kind: str, source: str, target: str) -> None:
        inputs = [source, f"{name}_scale", f"{name}_zero"]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [target], target))

    def _step(self, name: str) -> tuple[np.float32, int]:
        low, high = self._ranges[name]
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32(max(high - low, 1e-8) / 255)
        return scale, int(np.clip(np.rint(-low / scale), 0, 255))

    def _round_layer(self, node: Any, copy: Any) -> None:
        """Replaces the kernel and the bias of a layer by integers."""
        kernel, bias = self._weights(node)
        axis = _channel_axis(node)
        count = STEPS if _groups(node) == len(kernel) > 1 else SAFE_STEPS
        others = tuple(i for i in range(kernel.ndim) if i != axis)
        scales = np.abs(kernel).max(others) / count
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
        shape = [1] * kernel.ndim
        shape[axis] = -1
        steps = np.rint(kernel / scales.reshape(shape))
        name = f"{node.output[0]}_kernel"
        self._constants[name] = np.clip(steps, -count, count).astype(np.int8)
        copy.input[1] = self._constant(name, scales, np.int8, axis)
        if bias is None:
            return
        units = scales * self._step(node.input[0])[0]
        name = f"{node.output[0]}_bias"
        steps = np.clip(np.rint(bias / units), -_MAX_BIAS, _MAX_BIAS)
        self._constants[name] = steps.astype(np.int32)
        while len(copy.input) < 3:
            copy.input.append("")
        copy.input[2] = self._constant(name, units, np.int32, 0)

    def _constant(self, name: str, scales: Any, dtype: Any, axis: int) -> str:
        self._constants[f"{name}_scale"] = scales
        self._constants[f"{name}_zero"] = np.zeros(scales.shape, dtype)
        self._nodes.append(
            self._onnx.helper.make_node(
                "DequantizeLinear",
                [name, f"{name}_scale", f"{name}_zero"],
                [_dequantized(name)],
                _dequantized(name),
                axis=axis,
            )
        )
        return _dequantized(name)

    def _weights(self, node: Any) -> tuple[np.ndarray, np.ndarray | None]:
        network = self._network
        kernel = network.constants[node.input[1]]
        bias = network.constants.get(node.input[2]) if len(node.input) > 2 else None
        twin = network.names[network.output(node)]
        if twin not in self._kernels:
            return kernel, bias
        rounded, corrected = self._kernels[twin]
        rounded = to_onnx_layout(node, rounded)
        if rounded.shape != kernel.shape:
            return kernel, bias
        shift = network.shifts.get(twin)
        if shift is not None:
            corrected = corrected + np.einsum("oihw,i->o", rounded, shift)
        return rounded, corrected


def to_onnx_layout(node: Any, kernel: np.ndarray) -> np.ndarray:
    """Returns a kernel of TFLite in the layout of an ONNX layer.

    Args:
        node: Layer in ONNX.
        kernel: Kernel of the same layer in TFLite.
    """
    if node.op_type == "Conv" and kernel.ndim == 4:
        is_depthwise = _groups(node) > 1 and len(kernel) == 1
        return kernel.transpose((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2))
    return kernel if _channel_axis(node) == 0 else kernel.T


def _groups(node: Any) -> int:
    return max((x.i for x in node.attribute if x.name == "group"), default=1)


def _channel_axis(node: Any) -> int:
    transposed = any(x.name == "transB" and x.i for x in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def _quantized(name: str) -> str:
    return f"{name}_quantized"


def _dequantized(name: str) -> str:
    return f"{name}_dequantized"
