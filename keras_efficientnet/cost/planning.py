"""Analytic cost of a network, without building it."""

from __future__ import annotations

import math

from ..architecture import NORMALIZATION_LAYER, Block, Variant, block_plan
from .model_cost import Cost, LayerCost, Shape


def plan_cost(
    variant: Variant, classes: int = 1000, channels: int = 3, resolution: int = 0
) -> Cost:
    """Computes the cost of a variant without building it.

    Args:
        variant: Row of `VARIANTS`, or any other scaling of a family.
        classes: Number of classes of the classifier.
        channels: Channels of the input.
        resolution: Image side, pixels; 0 for the variant's own.

    Returns:
        The cost of each layer in float32, equal to `profile` of the built model.
    """
    side = resolution or variant.resolution
    rows = _Rows((side, side, channels))
    rows.free(NORMALIZATION_LAYER, "Rescaling")
    rows.conv("stem_conv", variant.stem_filters, kernel=3, stride=2)
    rows.bn_act("stem_bn", "stem_activation")
    for block in block_plan(variant):
        _plan_block(rows, block)
    rows.conv("top_conv", variant.head_filters)
    rows.bn_act("top_bn", "top_activation")
    rows.pool("avg_pool", keepdims=False)
    if variant.dropout > 0:
        rows.free("top_dropout", "Dropout")
    rows.dense("predictions", classes)
    return Cost(tuple(rows.rows))


def _plan_block(rows: _Rows, block: Block) -> None:
    name, entry = block.name, rows.last
    if block.kind == "fused":
        _plan_fused(rows, block)
    else:
        _plan_mbconv(rows, block)
    if block.has_skip:
        if block.drop_rate > 0:
            rows.free(f"{name}_drop", "Dropout")
        rows.join(f"{name}_add", "Add", rows.last, entry)


def _plan_mbconv(rows: _Rows, block: Block) -> None:
    name = block.name
    if block.expand != 1:
        rows.conv(f"{name}_expand_conv", block.expanded)
        rows.bn_act(f"{name}_expand_bn", f"{name}_expand_activation")
    rows.depthwise(f"{name}_{block.depthwise_name}", block.kernel, block.stride)
    rows.bn_act(f"{name}_bn", f"{name}_activation")
    _plan_squeeze_excite(rows, block)
    rows.conv(f"{name}_project_conv", block.filters_out)
    rows.bn(f"{name}_project_bn")


def _plan_fused(rows: _Rows, block: Block) -> None:
    name, square = block.name, (block.kernel, block.stride)
    if block.expand == 1:
        _plan_squeeze_excite(rows, block)
        rows.conv(f"{name}_project_conv", block.filters_out, *square)
        rows.bn_act(f"{name}_project_bn", f"{name}_project_activation")
        return
    rows.conv(f"{name}_expand_conv", block.expanded, *square)
    rows.bn_act(f"{name}_expand_bn", f"{name}_expand_activation")
    _plan_squeeze_excite(rows, block)
    rows.conv(f"{name}_project_conv", block.filters_out)
    rows.bn(f"{name}_project_bn")


def _plan_squeeze_excite(rows: _Rows, block: Block) -> None:
    if not block.se_filters:
        return
    name, excited = block.name, rows.last
    rows.pool(f"{name}_se_squeeze", keepdims=True)
    rows.conv(f"{name}_se_reduce", block.se_filters, bias=True)
    rows.conv(f"{name}_se_expand", block.expanded, bias=True)
    rows.join(f"{name}_se_excite", "Multiply", excited, rows.last)


class _Rows:
    """Rows of an analytic cost; each method appends one layer."""

    def __init__(self, shape: Shape) -> None:
        self.rows: list[LayerCost] = []
        self._add("input", "InputLayer", shape, inputs=())

    @property
    def last(self) -> LayerCost:
        return self.rows[-1]

    def conv(
        self,
        name: str,
        filters: int,
        kernel: int = 1,
        stride: int = 1,
        bias: bool = False,
    ) -> None:
        height, width, channels = self.last.output_shape
        shape = (-(-height // stride), -(-width // stride), filters)
        weights = kernel * kernel * channels * filters
        macs = weights * shape[0] * shape[1]
        self._add(name, "Conv2D", shape, weights + filters * bias, macs)

    def depthwise(self, name: str, kernel: int, stride: int) -> None:
        height, width, channels = self.last.output_shape
        shape = (-(-height // stride), -(-width // stride), channels)
        weights = kernel * kernel * channels
        macs = weights * shape[0] * shape[1]
        self._add(name, "DepthwiseConv2D", shape, weights, macs)

    def dense(self, name: str, units: int) -> None:
        macs = self.last.output_shape[-1] * units
        self._add(name, "Dense", (units,), macs + units, macs)

    def bn(self, name: str) -> None:
        shape = self.last.output_shape
        trained = kept = 2 * shape[-1]  # gamma and beta; moving mean and variance
        self._add(name, "BatchNormalization", shape, trained, frozen=kept)

    def bn_act(self, bn_name: str, activation_name: str) -> None:
        self.bn(bn_name)
        self.free(activation_name, "Activation")

    def pool(self, name: str, keepdims: bool) -> None:
        channels = self.last.output_shape[-1]
        shape = (1, 1, channels) if keepdims else (channels,)
        self._add(name, "GlobalAveragePooling2D", shape)

    def join(self, name: str, kind: str, first: LayerCost, second: LayerCost) -> None:
        inputs = (first.name, second.name)
        self._add(name, kind, first.output_shape, inputs=inputs)

    def free(self, name: str, kind: str) -> None:
        self._add(name, kind, self.last.output_shape)

    def _add(
        self,
        name: str,
        kind: str,
        shape: Shape,
        trained: int = 0,
        macs: int = 0,
        frozen: int = 0,
        inputs: tuple[str, ...] | None = None,
    ) -> None:
        row = LayerCost(
            name=name,
            kind=kind,
            inputs=(self.last.name,) if inputs is None else inputs,
            output_shape=shape,
            params=trained + frozen,
            trainable_params=trained,
            multiply_adds=macs,
            activation_bytes=4 * math.prod(shape),
        )
        self.rows.append(row)
