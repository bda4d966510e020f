"""im2col patches of a layer's input, and their covariance."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_efficientnet.common.padding import same_padding

from .tflite_graph import Graph, Kind

MAX_POSITIONS = 256  # per layer and image; neighbouring patches are similar
_SAME = 0
_DAMPING = 0.1  # share of the mean variance
_ROUNDING = 1e-3  # share of the mean square


@dataclasses.dataclass
class Moments:
    """First and second moments of the patches that a layer's kernels are applied to.

    Attributes:
        count: Number of patches.
        sums: Sums over the patches, (groups, weights).
        products: Sums of pairwise products, (groups, weights, weights).
    """

    count: int
    sums: np.ndarray
    products: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Mean patch, (groups, weights), float64."""
        return self.sums / np.float64(self.count)

    @property
    def covariances(self) -> np.ndarray:
        """Damped covariance matrices, (groups, weights, weights), float64.

        A small value is added to each variance, so that chance correlations of few
        images and float32's rounding of sums have no effect.
        """
        products = self.products / np.float64(self.count)
        means = self.means
        found = products - means[:, :, np.newaxis] * means[:, np.newaxis]
        weights = found.shape[-1]
        more = _DAMPING * np.trace(found, axis1=1, axis2=2)
        more += _ROUNDING * np.trace(products, axis1=1, axis2=2)
        more = more / weights + 1e-12
        return found + more[:, np.newaxis, np.newaxis] * np.eye(weights)

    @classmethod
    def of(cls, patches: np.ndarray) -> Moments:
        """Returns the moments of patches.

        Args:
            patches: (groups, positions, weights).
        """
        products = np.swapaxes(patches, 1, 2) @ patches
        return cls(patches.shape[1], patches.sum(axis=1), products)

    def add(self, other: Moments) -> None:
        """Adds the moments of more patches."""
        self.count += other.count
        self.sums += other.sums
        self.products += other.products


def flatten_kernels(graph: Graph, layer: Any) -> np.ndarray:
    """Returns a layer's kernels, one per row.

    Args:
        graph: Graph that contains the layer.
        layer: Convolution or fully connected layer.

    Returns:
        (groups, kernels, weights); kernels of a group are applied to the same inputs.
    """
    kernel = graph.constant(layer.inputs[1])
    if graph.kind(layer) != Kind.DEPTHWISE_CONV_2D:
        return kernel.reshape(1, len(kernel), -1)
    rows = kernel.reshape(-1, kernel.shape[-1]).T
    channels = graph.tensors[layer.inputs[0]].shape[-1]
    return rows.reshape(channels, -1, rows.shape[-1])


def unflatten_kernels(graph: Graph, layer: Any, rows: np.ndarray) -> np.ndarray:
    """Inverts `flatten_kernels`."""
    shape = graph.tensors[layer.inputs[1]].shape
    if graph.kind(layer) == Kind.DEPTHWISE_CONV_2D:
        rows = rows.reshape(-1, rows.shape[-1]).T
    return rows.reshape(shape)


def find_patches(
    graph: Graph, layer: Any, values: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Samples the patches that a layer's kernels are applied to.

    Args:
        graph: Graph that contains the layer.
        layer: Convolution or fully connected layer.
        values: Input of the layer for one image.
        random: Generator for the choice of at most `MAX_POSITIONS` positions.

    Returns:
        (groups, positions, weights), in the order of `flatten_kernels`.
    """
    if graph.kind(layer) == Kind.FULLY_CONNECTED:
        return values.reshape(1, -1, graph.tensors[layer.inputs[1]].shape[1])
    options = layer.builtinOptions
    strides = options.strideH, options.strideW
    dilations = options.dilationHFactor, options.dilationWFactor
    size = [int(side) for side in graph.tensors[layer.inputs[1]].shape[1:3]]
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, size, strict=True)]
    (image,) = values
    if options.padding == _SAME:
        sides = map(same_padding, image.shape[:2], reach, strides)
        image = np.pad(image, (*sides, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(image, reach, (0, 1))
    windows = windows[:: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
    positions = windows.shape[0] * windows.shape[1]
    if positions > MAX_POSITIONS:
        chosen = random.choice(positions, MAX_POSITIONS, replace=False)
    else:
        chosen = np.arange(positions)
    rows, columns = np.divmod(chosen, windows.shape[1])
    found = windows[rows, columns]  # (positions, channels, height, width)
    if graph.kind(layer) == Kind.DEPTHWISE_CONV_2D:
        found = found.reshape(*found.shape[:2], -1)
        return np.moveaxis(found, 1, 0)
    return np.moveaxis(found, 1, 3).reshape(1, len(found), -1)
