"""What the kernels of a network are applied to, and how it varies together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_efficientnet.common.padding import same_padding

from .tflite_graph import Graph, Kind

MAX_POSITIONS = 256  # of a layer, in each image; neighbours tell little news
_SAME = 0
_DAMPING = 0.1  # of the mean variance
_ROUNDING = 1e-3  # of the mean square


@dataclasses.dataclass
class Moments:
    """How the patches that a layer's kernels are applied to vary.

    Attributes:
        count: Patches seen.
        sums: Over the patches, (groups, weights).
        products: Sums of products of every two values, (groups, weights, weights).
    """

    count: int
    sums: np.ndarray
    products: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """The mean patch, (groups, weights), float64."""
        return self.sums / np.float64(self.count)

    @property
    def covariances(self) -> np.ndarray:
        """How much values vary together, (groups, weights, weights), float64.

        A little is added to each value's variance, so that what few images have in
        common by chance, and float32's rounding of sums, decide nothing.
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
        """Takes in more patches."""
        self.count += other.count
        self.sums += other.sums
        self.products += other.products


def flatten_kernels(graph: Graph, layer: Any) -> np.ndarray:
    """Returns a layer's kernels, each as a row.

    Args:
        graph: That the layer is in.
        layer: A convolution or a fully connected layer.

    Returns:
        (groups, kernels, weights): kernels of a group are applied to the same values.
    """
    kernel = graph.constant(layer.inputs[1])
    if graph.kind(layer) != Kind.DEPTHWISE_CONV_2D:
        return kernel.reshape(1, len(kernel), -1)
    rows = kernel.reshape(-1, kernel.shape[-1]).T
    channels = graph.tensors[layer.inputs[0]].shape[-1]
    return rows.reshape(channels, -1, rows.shape[-1])


def unflatten_kernels(graph: Graph, layer: Any, rows: np.ndarray) -> np.ndarray:
    """Returns rows as the layer's kernels: the inverse of `flatten_kernels`."""
    shape = graph.tensors[layer.inputs[1]].shape
    if graph.kind(layer) == Kind.DEPTHWISE_CONV_2D:
        rows = rows.reshape(-1, rows.shape[-1]).T
    return rows.reshape(shape)


def find_patches(
    graph: Graph, layer: Any, values: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Returns some of the patches that a layer's kernels are applied to.

    Args:
        graph: That the layer is in.
        layer: A convolution or a fully connected layer.
        values: What it reads, of one image.
        random: Chooses the positions, `MAX_POSITIONS` at most.

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
