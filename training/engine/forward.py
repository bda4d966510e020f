"""Forward pass with fused layers and rematerialisation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from . import fused_layers, remat


class Forward:
    """Computes a network in training mode, like `net(images, training=True)`.

    Args:
        net: Functional model.
        stages: Stages whose activations are recomputed in the backward pass, 1 to 7;
            see `remat`.
        swaps: id of a layer -> layer to call in its place.
        bn_group_size: Number of replicas that share BatchNorm's statistics.

    Raises:
        ValueError: The network does not have one of `stages`.
    """

    def __init__(
        self,
        net: keras.Model,
        stages: Sequence[int] = (),
        swaps: Mapping[int, keras.Layer] | None = None,
        bn_group_size: int = 1,
    ) -> None:
        self._net = net
        self._swaps = swaps or {}
        self._bn_group_size = bn_group_size
        self._segments = remat.split_segments(_nodes(net), net.outputs, stages)

    def __call__(self, images: Any) -> Any:
        """Returns the network's output; updates statistics and dropout seeds."""
        tensors = {id(self._net.inputs[0]): images}
        for segment in self._segments:
            inputs = [tensors[key] for key in segment.inputs]
            if segment.is_kept:
                outputs = self._run(segment, inputs)
            else:
                run = functools.partial(self._run, segment)
                used = [self._layer(node) for node in segment.nodes]
                outputs = remat.recompute(run, inputs, used)
            tensors.update(zip(segment.outputs, outputs, strict=True))
        return tensors[id(self._net.outputs[0])]

    def _layer(self, node: Any) -> keras.Layer:
        return self._swaps.get(id(node.operation), node.operation)

    def _run(self, segment: remat.Segment, inputs: Sequence[Any]) -> list[Any]:
        tensors = dict(zip(segment.inputs, inputs, strict=True))
        for node in segment.nodes:
            args, kwargs = node.arguments.fill_in(tensors)
            layer = self._layer(node)
            result = fused_layers.call_layer(layer, args, kwargs, self._bn_group_size)
            keys = [id(tensor) for tensor in node.outputs]
            tensors.update(zip(keys, tf.nest.flatten(result), strict=True))
        return [tensors[key] for key in segment.outputs]


def _nodes(net: keras.Model) -> list[Any]:
    # Keras has no public way to walk a graph without the nodes that its layers have in
    # other graphs, as the layers below a new classifier do.
    depths = sorted(net._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in net._nodes_by_depth[depth]]
    return [node for node in nodes if not node.is_input]
