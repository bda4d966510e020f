"""Editable graph of a .tflite file."""

from __future__ import annotations

import collections
import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Kind = schema.BuiltinOperator
# Operations with a kernel. Their inputs are the data, the kernel and the bias.
LAYERS = (Kind.CONV_2D, Kind.DEPTHWISE_CONV_2D, Kind.FULLY_CONNECTED)
_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT32: np.int32,
}


class Graph:
    """Graph of a .tflite file with one subgraph.

    Attributes:
        model: Unpacked file.
        operators: Operators in execution order.
        tensors: Tensors, which operators refer to by index.

    Raises:
        ValueError: The file has several subgraphs.
    """

    def __init__(self, content: bytes):
        self.model = schema.ModelT.InitFromPackedBuf(content)
        if len(self.model.subgraphs) != 1:
            raise ValueError(
                "A network must be a single graph, without loops such as those of "
                f"LSTM. Received: {len(self.model.subgraphs)} graphs"
            )
        (subgraph,) = self.model.subgraphs
        self.operators: list[Any] = subgraph.operators
        self.tensors: list[Any] = subgraph.tensors
        self.inputs: list[int] = [int(i) for i in subgraph.inputs]
        self.outputs: list[int] = [int(i) for i in subgraph.outputs]
        for buffer in self.model.buffers:
            # Data may be stored after the flatbuffer; old runtimes look only inside.
            if buffer.offset > 1:
                buffer.data = np.frombuffer(
                    content, np.uint8, buffer.size, buffer.offset
                )
                buffer.offset = buffer.size = 0

    def pack(self) -> bytes:
        """Serialises the graph to the content of a file."""
        size = sum(len(b.data) for b in self.model.buffers if b.data is not None)
        builder = flatbuffers.Builder(size + 2**20)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def kind(self, operator: Any) -> int:
        """Returns the builtin operation of an operator, a value of `Kind`."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        # Old files have only the deprecated code.
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def make(self, kind: int, source: int, target: int) -> Any:
        """Returns a new operator without options, from one tensor to another."""
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [source], [target]
        self.set_kind(operator, kind)
        return operator

    def add_twin(self, index: int) -> int:
        """Adds a copy of a tensor; returns its index."""
        twin = copy.copy(self.tensors[index])
        twin.name += b";twin%d" % len(self.tensors)
        self.tensors.append(twin)
        return len(self.tensors) - 1

    def set_kind(self, operator: Any, kind: int) -> None:
        """Changes an operator to another operation without options."""
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = kind, 1
        code.deprecatedBuiltinCode = min(kind, 127)
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.builtinOptionsType, operator.builtinOptions = 0, None
        self.model.operatorCodes.append(code)

    def layers(self) -> list[Any]:
        """Returns the operators with a kernel and a bias."""
        return [
            operator
            for operator in self.operators
            if self.kind(operator) in LAYERS
            and len(operator.inputs) > 2
            and operator.inputs[2] >= 0
        ]

    def kernels(self) -> list[int]:
        """Returns the constant kernels of all layers, also of those without a bias."""
        kinds = (*LAYERS, Kind.TRANSPOSE_CONV)
        found = {int(x.inputs[1]) for x in self.operators if self.kind(x) in kinds}
        buffers = self.model.buffers
        return sorted(
            i for i in found if buffers[self.tensors[i].buffer].data is not None
        )

    def name(self, index: int) -> str:
        """Returns the name of a tensor."""
        return self.tensors[index].name.decode()

    def users(self) -> dict[int, list[Any]]:
        """Returns the operators that read each tensor."""
        users = collections.defaultdict(list)
        for operator in self.operators:
            for index in operator.inputs:
                users[int(index)].append(operator)
        return users

    def constant(self, index: int) -> np.ndarray:
        """Returns the dequantised values of a constant tensor.

        Args:
            index: Index of a float32 tensor, or of an integer tensor with scales.

        Returns:
            Copy of the values, float32, or float64 for integer tensors.
        """
        tensor = self.tensors[index]
        data = np.asarray(self.model.buffers[tensor.buffer].data, np.uint8)
        values = np.frombuffer(data.tobytes(), _DTYPES[tensor.type])
        values = values.reshape(tensor.shape)
        scales = None if tensor.quantization is None else tensor.quantization.scale
        if scales is None:
            return values.copy()
        shape = [1] * values.ndim
        shape[tensor.quantization.quantizedDimension] = len(scales)
        return values * np.asarray(scales, np.float64).reshape(shape)

    def set_constant(self, operator: Any, position: int, values: np.ndarray) -> None:
        """Replaces a constant of one operator, even if others share it.

        Args:
            operator: Operator that reads the constant.
            position: Position among the operator's inputs.
            values: New values, of the same number; stored as float32.
        """
        index = int(operator.inputs[position])
        tensor = self.tensors[index]
        readers = sum(list(x.inputs).count(index) for x in self.operators)
        sharers = sum(x.buffer == tensor.buffer for x in self.tensors)
        if readers > 1 or sharers > 1:
            operator.inputs = [int(i) for i in operator.inputs]
            operator.inputs[position] = self.add_twin(index)
            tensor = self.tensors[-1]
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(schema.BufferT())
        data = np.ascontiguousarray(values, np.float32).view(np.uint8).ravel()
        self.model.buffers[tensor.buffer].data = data
