"""GPTQ: rounds kernels to 8 bits with the least change of a layer's outputs.

Rounding to the nearest step is best for each weight, but not for their weighted sum:
the inputs of a layer are correlated, so that other weights can compensate for the
rounding error of one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from ..progress import track
from .im2col import Moments, flatten_kernels, unflatten_kernels
from .tflite_graph import Graph

Kernels = dict[str, tuple[np.ndarray, np.ndarray]]  # by layer: kernel and bias

STEPS = 127  # to either side of zero
Steps = Callable[[int], int]  # kind of layer -> steps to either side of zero
_BLOCK = 64  # columns whose errors are propagated to the others at once


def round_kernels(
    content: bytes,
    moments: Mapping[str, Moments],
    steps: Steps = lambda kind: STEPS,
) -> Kernels:
    """Rounds the kernels of a network and corrects the biases.

    Args:
        content: Content of a .tflite file in float32.
        moments: Moments of the layers' inputs, by the name of their outputs.
        steps: Function from the kind of a layer to the number of steps between zero
            and its greatest weight.

    Returns:
        Kernels and biases of these layers, float32. The weights of a kernel are
        multiples of such a step.

    Source:
        arXiv:2210.17323 (GPTQ), section 3; arXiv:1906.04721, section 4.2, for biases.
    """
    graph = Graph(content)
    found = {}
    for layer in track(graph.layers(), "  rounding of weights", "layers"):
        name = graph.name(layer.outputs[0])
        if name not in moments:
            continue
        rows = flatten_kernels(graph, layer).astype(np.float64)
        count = steps(graph.kind(layer))
        rounded = round_rows(rows, moments[name].covariances, count)
        shift = ((rounded - rows) @ moments[name].means[..., np.newaxis]).ravel()
        bias = graph.constant(layer.inputs[2]) - shift
        found[name] = (unflatten_kernels(graph, layer, rounded), bias)
    return found


def with_kernels(content: bytes, kernels: Kernels, kept: Collection[str] = ()) -> bytes:
    """Replaces the kernels of a network.

    Args:
        content: Content of a .tflite file in float32.
        kernels: New kernels and biases.
        kept: Names of layers that stay unchanged.
    """
    graph = Graph(content)
    for layer in graph.layers():
        name = graph.name(layer.outputs[0])
        if name in kernels and name not in kept:
            kernel, bias = kernels[name]
            graph.set_constant(layer, 1, kernel)
            graph.set_constant(layer, 2, bias)
    return graph.pack()


def round_rows(
    rows: np.ndarray, covariances: np.ndarray, count: int = STEPS
) -> np.ndarray:
    """Rounds weights so that their products with correlated inputs change least.

    Args:
        rows: (groups, kernels, weights), float64.
        covariances: Covariances of the inputs, (groups, weights, weights), float64;
            invertible.
        count: Number of steps between zero and each row's greatest magnitude.

    Returns:
        Multiples of each row's step. Its greatest magnitude does not change.
    """
    # Row i has the corrections of the weights after i for a unit error of weight i.
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(covariances)), 1, 2)
    scales = np.abs(rows).max(axis=2) / count
    greatest = np.abs(rows).argmax(axis=2)
    rest, rounded = rows.copy(), np.empty_like(rows)
    weights = rows.shape[2]
    for start in range(0, weights, _BLOCK):
        end = min(start + _BLOCK, weights)
        errors = np.empty((*rows.shape[:2], end - start))
        for column in range(start, end):
            steps = rest[..., column] / np.where(scales, scales, 1)
            steps = np.clip(np.rint(steps), -count, count)
            # If the greatest weight had fewer steps, the step size would change.
            at_end = np.copysign(count, rows[..., column])
            steps = np.where(greatest == column, at_end, steps)
            rounded[..., column] = steps * scales
            error = rest[..., column] - rounded[..., column]
            error /= upper[:, column, column, np.newaxis]
            ahead = upper[:, np.newaxis, column, column:end]
            rest[..., column:end] -= error[..., np.newaxis] * ahead
            errors[..., column - start] = error
        rest[..., end:] -= errors @ upper[:, start:end, end:]
    return rounded
