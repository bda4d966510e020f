"""Parameters, multiply-adds and activation memory of a built model, per layer."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from .._compat import kernel, layer_call

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """Cost of one layer for one image.

    Attributes:
        name: Name of the layer, "outer/inner" for layers of a nested model.
        kind: Class name of the layer.
        inputs: Names of the layers whose outputs it reads.
        output_shape: Output shape without the batch axis.
        params: Number of parameters, trainable or not.
        trainable_params: Number of trainable parameters.
        multiply_adds: Number of multiply-adds, which the paper calls FLOPs.
        activation_bytes: Size of the output, bytes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    output_shape: Shape
    params: int
    trainable_params: int
    multiply_adds: int
    activation_bytes: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network for one image.

    Attributes:
        layers: Cost of each layer, from input to output.
    """

    layers: tuple[LayerCost, ...]

    @property
    def params(self) -> int:
        """Number of parameters, moving statistics included."""
        return sum(layer.params for layer in self.layers)

    @property
    def trainable_params(self) -> int:
        """Number of trainable parameters, the figure that papers report."""
        return sum(layer.trainable_params for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds, which the paper calls FLOPs."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak memory of layer outputs during inference, bytes.

        An output is kept until its last consumer has run; no layer works in place.
        """
        last_reader = {layer.name: i for i, layer in enumerate(self.layers)}
        for i, layer in enumerate(self.layers):
            last_reader.update(dict.fromkeys(layer.inputs, i))
        held = peak = 0
        expiring: dict[int, int] = {}
        for i, layer in enumerate(self.layers):
            held += layer.activation_bytes
            peak = max(peak, held)
            end = last_reader[layer.name]
            expiring[end] = expiring.get(end, 0) + layer.activation_bytes
            held -= expiring.pop(i, 0)
        return peak

    def __str__(self) -> str:
        return (
            f"{self.trainable_params / 1e6:.2f} M trainable parameters, "
            f"{self.multiply_adds / 1e9:.3f} G multiply-adds, "
            f"{self.peak_activation_bytes / 2**20:.1f} MiB peak activations"
        )


def profile(
    model: Any,
    input_shape: Sequence[int] | None = None,
    *,
    multiply_adds: Mapping[str, int] | None = None,
) -> Cost:
    """Computes the cost of a built model for one image.

    Args:
        model: Functional or Sequential Keras model with one input.
        input_shape: Input shape, (height, width, channels); required if the model
            accepts images of any size.
        multiply_adds: Layer name -> multiply-adds for one image, for layers of unknown
            cost.

    Returns:
        The cost of each layer, with bytes in the layer's compute dtype.

    Raises:
        ValueError: The input shape is unknown, or a layer has a type of unknown cost;
            the message names it.

    Source:
        Convention of the paper's Table 2: biases, normalisation and activations are not
        counted, nor are layers without weights, such as augmentation, arithmetic and
        Lambda.
    """
    shape = tuple(input_shape or single_input(model).shape[1:])
    if any(side is None for side in shape):
        raise ValueError(
            "`input_shape` must be given because the model takes images of any "
            f"size. Received: input_shape={input_shape}, model input {shape}"
        )
    walk = _Walk(multiply_adds or {})
    walk.visit(model, [("input", (1, *shape))], prefix="")
    return Cost(tuple(walk.rows))


class _Walk:
    """Traverses the layer calls of a model in order, nested models included."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = known  # layer name -> multiply-adds
        self.rows: list[LayerCost] = []
        self._counted: set[int] = (
            set()
        )  # ids of weights, so that shared ones count once
        self._calls: collections.Counter[str] = collections.Counter()  # per layer

    def visit(
        self, model: Any, inputs: list[tuple[str, Shape]], prefix: str
    ) -> list[tuple[str, Shape]]:
        """Adds the rows of `model` and returns (row name, shape) of its outputs."""
        known = {
            id(tensor): given
            for tensor, given in zip(model.inputs, inputs, strict=True)
        }
        if not prefix:
            name, shape = inputs[0]
            self._add(name, "InputLayer", [], shape, 0, [], 4)
        for node in layer_calls(model):
            sources = [known[id(tensor)] for tensor in node.input_tensors]
            layer, label = node.operation, prefix + node.operation.name
            if is_model(layer):
                outputs = self.visit(layer, sources, f"{label}/")
            else:
                outputs = self._layer(node, label, sources)
            known.update(zip(map(id, node.output_tensors), outputs, strict=True))
        return [known[id(tensor)] for tensor in model.outputs]

    def _layer(
        self, node: Any, label: str, sources: list[tuple[str, Shape]]
    ) -> list[tuple[str, Shape]]:
        layer, kind = node.operation, type(node.operation).__name__
        weights = getattr(layer, "weights", [])  # operations such as x + y have none
        shapes = [shape for _, shape in sources]
        outputs = _output_shapes(node, shapes)
        macs = self._known.get(label)
        if macs is None:
            macs = self._multiply_adds(layer, label, shapes, outputs)
        calls = self._calls[label]
        self._calls[label] += 1
        name = f"{label}:{calls}" if calls else label
        names = [source for source, _ in sources]
        itemsize = _bytes(getattr(layer, "compute_dtype", node.output_tensors[0].dtype))
        extra = itemsize * sum(math.prod(shape[1:]) for shape in outputs[1:])
        self._add(name, kind, names, outputs[0], macs, weights, itemsize, extra, layer)
        return [(name, shape) for shape in outputs]

    def _multiply_adds(
        self, layer: Any, label: str, sources: list[Shape], targets: list[Shape]
    ) -> int:
        kind = type(layer).__name__
        if kind in _MULTIPLY_ADDS:
            return _MULTIPLY_ADDS[kind](layer, sources[0][1:], targets[0][1:])
        has_weights = bool(getattr(layer, "weights", []))
        if kind in _PRODUCTS or (has_weights and kind not in _FREE):
            raise ValueError(
                "`model` must consist of layers without weights and of "
                f"{', '.join(sorted([*_MULTIPLY_ADDS, *_FREE]))}; pass the cost of "
                f"others, `profile(model, multiply_adds={{{label!r}: 1000}})`. "
                f"Received: layer {label!r} of type {kind}"
            )
        return 0

    def _add(
        self,
        name: str,
        kind: str,
        inputs: list[str],
        shape: Shape,
        macs: int,
        weights: Sequence[Any],
        itemsize: int,
        extra_bytes: int = 0,
        layer: Any = None,
    ) -> None:
        fresh = [w for w in weights if id(w) not in self._counted]
        self._counted.update(map(id, fresh))
        trained = {id(w) for w in getattr(layer, "trainable_weights", [])}
        row = LayerCost(
            name=name,
            kind=kind,
            inputs=tuple(inputs),
            output_shape=tuple(shape[1:]),
            params=sum(math.prod(w.shape) for w in fresh),
            trainable_params=sum(math.prod(w.shape) for w in fresh if id(w) in trained),
            multiply_adds=macs,
            activation_bytes=itemsize * math.prod(shape[1:]) + extra_bytes,
        )
        self.rows.append(row)


def _output_shapes(node: Any, shapes: list[Shape]) -> list[Shape]:
    layer = node.operation
    if hasattr(layer, "compute_output_shape"):
        found = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
        if len(node.output_tensors) == 1:
            return [tuple(found)]  # Keras 2 has its own type
        return [tuple(shape) for shape in found]
    inputs = {
        id(tensor): keras.KerasTensor(shape, tensor.dtype)
        for tensor, shape in zip(node.input_tensors, shapes, strict=True)
    }
    arguments, options = node.arguments.fill_in(inputs)
    found = layer.compute_output_spec(*arguments, **options)
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(found)]


def single_input(model: Any) -> Any:
    """Returns the only input of a model.

    Args:
        model: Keras model.

    Raises:
        ValueError: The model has several inputs, or `layer_calls` rejects it.
    """
    inputs = _graph(model).inputs
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ValueError(
            f"`model` must have one input. Received: model {model.name!r} with "
            f"{len(inputs)}: {names}"
        )
    return inputs[0]


def layer_calls(model: Any) -> list[Any]:
    """Lists the layer calls of a functional or Sequential model in order.

    Args:
        model: Keras model.

    Raises:
        ValueError: The model is a subclass with its own `call`, so its graph is
            unknown, or it has not been built.
    """
    depths = _graph(model)._nodes_by_depth
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    return [layer_call(node) for node in nodes if not node.is_input]


def _graph(model: Any) -> Any:
    graph = getattr(model, "_functional", None) or model  # Sequential wraps one
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(
            "`model` must be functional, or Sequential with a known input; wrap other "
            "parts as layers of `keras.Model(inputs, outputs)`. "
            f"Received: model {model.name!r} of class {type(model).__name__}"
        )
    return graph


def is_model(layer: Any) -> bool:
    """Returns whether a layer is itself a model."""
    return hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional")


def _bytes(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1


def _conv(layer: Any, source: Shape, target: Shape) -> int:
    return math.prod(kernel(layer).shape) * math.prod(target[:-1])


def _separable_conv(layer: Any, source: Shape, target: Shape) -> int:
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return sum(math.prod(k.shape) for k in kernels) * math.prod(target[:-1])


def _transposed_conv(layer: Any, source: Shape, target: Shape) -> int:
    return math.prod(layer.kernel.shape) * math.prod(source[:-1])


_MULTIPLY_ADDS: dict[str, Callable[[Any, Shape, Shape], int]] = {
    "Conv1D": _conv,
    "Conv2D": _conv,
    "DepthwiseConv2D": _conv,
    "SeparableConv2D": _separable_conv,
    "Conv2DTranspose": _transposed_conv,
    "Dense": _conv,
}
# Layers with weights that count as free by the paper's convention.
_FREE = frozenset(
    (
        "BatchNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "Normalization",
        "PReLU",
        "RMSNormalization",
    )
)
# Layers that multiply matrices without having weights: they are not free.
_PRODUCTS = frozenset(
    (
        *("AdditiveAttention", "Attention", "Dot", "DotProductAttention", "Matmul"),
        *("Einsum", "Tensordot", "Inner", "Outer", "Vdot", "Conv", "ConvTranspose"),
        *("DepthwiseConv", "SeparableConv"),
    )
)
