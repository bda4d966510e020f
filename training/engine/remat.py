"""Rematerialisation (gradient checkpointing) of blocks."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive layers of a network.

    Attributes:
        nodes: Calls of layers, in the order of computation.
        inputs: Keys (ids of symbolic tensors) of the segment's inputs.
        outputs: Keys of the segment's outputs.
        is_kept: Whether the activations are kept for the backward pass.
    """

    nodes: list[Any]
    inputs: list[int]
    outputs: list[int]
    is_kept: bool


def split_segments(
    nodes: Sequence[Any], results: Sequence[Any], stages: Sequence[int]
) -> list[Segment]:
    """Splits a network so that each block of the given stages is a segment.

    The blocks are the segments because their inputs are narrow: the activations inside
    have six times as many channels.

    Args:
        nodes: Nodes of a functional model, in the order of computation.
        results: Symbolic outputs of the model.
        stages: Stages whose activations are recomputed, 1 to 7.

    Raises:
        ValueError: The network does not have one of the stages.
    """
    found = {match[2] for match in map(_block, nodes) if match}
    missing = [stage for stage in stages if str(stage) not in found]
    if missing:
        raise ValueError(
            "`remat` must name stages that the network has, by layers named as "
            f"'block1a_...'. Received: stages {', '.join(map(str, missing))}"
        )
    names = {str(stage) for stage in stages}

    def block(node: Any) -> str:
        match = _block(node)
        return match[1] if match and match[2] in names else ""

    runs = [(name, list(run)) for name, run in itertools.groupby(nodes, block)]
    return [
        Segment(run, *_borders(run, nodes, results), is_kept=not name)
        for name, run in runs
    ]


def recompute(
    compute: Callable[[list[Any]], list[Any]],
    inputs: Sequence[Any],
    layers: Sequence[Any],
) -> list[Any]:
    """Calls a function and recomputes its activations in the backward pass.

    The second computation uses the dropout seeds of the first. BatchNorm's statistics
    and the seeds are updated once.

    Args:
        compute: Function from tensors to tensors that calls `layers`.
        inputs: Inputs of `compute`.
        layers: All layers that `compute` uses.

    Returns:
        The outputs of `compute`.

    Source:
        arXiv:1604.06174.
    """
    weights = [w for la in layers for w in getattr(la, "trainable_variables", ())]
    others = [w for la in layers for w in getattr(la, "non_trainable_variables", ())]
    state = [tf.identity(v.value) for v in others]

    def stateless(xs: Any, values: Any) -> tuple[list[Any], list[Any]]:
        mapping = [*zip(weights, values, strict=True), *zip(others, state, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = compute(list(xs))
        return outputs, [scope.get_current_value(v) for v in others]

    @tf.custom_gradient
    def run(*tensors: Any) -> Any:
        outputs, moved = stateless(tensors[: len(inputs)], tensors[len(inputs) :])

        def backward(*upstream: Any) -> Any:
            upstream = upstream[: len(outputs)]
            again = _after(upstream[0], tensors[: len(inputs)])
            wanted = [*again, *tensors[len(inputs) :]]
            with tf.GradientTape() as tape:
                tape.watch(wanted)
                results, _ = stateless(again, wanted[len(inputs) :])
            return tape.gradient(results, wanted, output_gradients=upstream)

        return (*outputs, *moved), backward

    results = run(*inputs, *[tf.identity(w.value) for w in weights])
    count = len(results) - len(others)
    for variable, value in zip(others, results[count:], strict=True):
        variable.assign(value)
    return list(results[:count])


def _after(signal: Any, tensors: Sequence[Any]) -> list[Any]:
    """Returns `tensors`, with a data dependency on `signal`.

    Without it, the second computation would run early, or the graph optimizers would
    merge it with the first, and the activations would be kept after all. A control
    dependency would not be enough, because XLA drops it.
    """
    first = tf.reshape(signal, [-1])[0]
    zero = tf.where(tf.math.is_finite(first), tf.zeros_like(first), 0)
    return [tensor + tf.cast(zero, tensor.dtype) for tensor in tensors]


def _block(node: Any) -> re.Match[str] | None:
    """Matches the name of a block; the group is the number of its stage."""
    return re.match(r"(block([1-7])[a-z]+)_", node.operation.name)


def _borders(
    run: Sequence[Any], nodes: Sequence[Any], results: Sequence[Any]
) -> tuple[list[int], list[int]]:
    mine = {id(node) for node in run}
    made = [id(t) for node in run for t in node.outputs]
    needed = [id(t) for node in run for t in node.input_tensors]
    elsewhere = {id(t) for n in nodes if id(n) not in mine for t in n.input_tensors}
    elsewhere |= {id(t) for t in results}
    inputs = list(dict.fromkeys(key for key in needed if key not in set(made)))
    return inputs, [key for key in made if key in elsewhere]
