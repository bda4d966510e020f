"""Rounding kernels to eight bits so that layers answer as before.

To round every weight to the nearest step is best for each weight, but not for the sum
that they are part of: the values they are multiplied by rise and fall together, so the
next weights can make up for what a weight lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ..progress import track
from .im2col import Moments, flatten_kernels, unflatten_kernels
from .tflite_graph import Graph

Kernels = dict[str, tuple[np.ndarray, np.ndarray]]  # of layers: kernel and bias

STEPS = 127  # to either side of zero
_BLOCK = 64  # columns whose errors are passed on to all others at once


def round_kernels(content: bytes, moments: Mapping[str, Moments]) -> Kernels:
    """Rounds the kernels of a network, and makes up for it in the biases.

    Args:
        content: Of a .tflite file in float32.
        moments: Of its layers, by the name of what they compute.

    Returns:
        Kernels and biases of these layers, float32. Each kernel consists of multiples
        of 1/127 of its greatest weight.

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
        rounded = round_rows(rows, moments[name].covariances)
        shift = ((rounded - rows) @ moments[name].means[..., np.newaxis]).ravel()
        bias = graph.constant(layer.inputs[2]) - shift
        found[name] = (unflatten_kernels(graph, layer, rounded), bias)
    return found


def with_kernels(content: bytes, kernels: Kernels, kept: Collection[str] = ()) -> bytes:
    """Returns a network with other kernels.

    Args:
        content: Of a .tflite file in float32.
        kernels: To put in.
        kept: Names of layers that stay as they are.
    """
    graph = Graph(content)
    for layer in graph.layers():
        name = graph.name(layer.outputs[0])
        if name in kernels and name not in kept:
            kernel, bias = kernels[name]
            graph.set_constant(layer, 1, kernel)
            graph.set_constant(layer, 2, bias)
    return graph.pack()


def round_rows(rows: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Rounds weights so that their products with varying values change least.

    Args:
        rows: (groups, kernels, weights), float64.
        covariances: Of the values, (groups, weights, weights), float64; invertible.

    Returns:
        Multiples of 1/127 of each row's greatest magnitude, which stays itself.
    """
    # Row i tells what to add to the weights after i when i is off by one.
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(covariances)), 1, 2)
    scales = np.abs(rows).max(axis=2) / STEPS
    greatest = np.abs(rows).argmax(axis=2)
    rest, rounded = rows.copy(), np.empty_like(rows)
    weights = rows.shape[2]
    for start in range(0, weights, _BLOCK):
        end = min(start + _BLOCK, weights)
        errors = np.empty((*rows.shape[:2], end - start))
        for column in range(start, end):
            steps = rest[..., column] / np.where(scales, scales, 1)
            steps = np.clip(np.rint(steps), -STEPS, STEPS)
            # A greatest weight of fewer steps would change what a step is.
            at_end = np.copysign(STEPS, rows[..., column])
            steps = np.where(greatest == column, at_end, steps)
            rounded[..., column] = steps * scales
            error = rest[..., column] - rounded[..., column]
            error /= upper[:, column, column, np.newaxis]
            ahead = upper[:, np.newaxis, column, column:end]
            rest[..., column:end] -= error[..., np.newaxis] * ahead
            errors[..., column - start] = error
        rest[..., end:] -= errors @ upper[:, start:end, end:]
    return rounded
