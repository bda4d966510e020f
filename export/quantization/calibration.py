"""Calibration: ranges and moments of activations on real images."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.output_activation import SOFTMAX, to_probabilities

from ..progress import progress_bar
from .im2col import Moments, find_patches
from .tflite_graph import Graph, Kind

Ranges = dict[str, tuple[float, float]]  # of tensors by name: lowest, highest value

# The sigmoid of 8 is 0.9997: beyond that, 8 bits see no difference.
_SIGMOID_LIMIT = 8.0
KEPT_IMAGES = 200  # for trials of quantised networks
MAX_BYTES = 2**29  # of activations recorded at a time


@dataclasses.dataclass(frozen=True)
class Activations:
    """Statistics of the tensors of a network on calibration images, by tensor name.

    Attributes:
        lows: Smallest value in each image, (images,).
        highs: Largest value in each image, (images,).
        moments: Moments of the patches that each layer's kernels are applied to.
        images: First `KEPT_IMAGES` images, (images, height, width, 3), uint8.
        outputs: Outputs for these images, (images, outputs), float32.
        output_activation: Activation of these outputs.
        thresholds: Threshold of each class of a multi-label network; None: one label
            per image.
    """

    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]
    moments: dict[str, Moments]
    images: np.ndarray
    outputs: np.ndarray
    output_activation: str = SOFTMAX
    thresholds: tuple[float, ...] | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Outputs as probabilities, (images, classes), float32."""
        return to_probabilities(self.outputs, self.output_activation)


def collect_activations(
    content: bytes,
    batches: Iterable[np.ndarray],
    output_activation: str = SOFTMAX,
    thresholds: tuple[float, ...] | None = None,
) -> Activations:
    """Runs a network on images and records statistics of its activations.

    Args:
        content: Content of a .tflite file in float32.
        batches: (batch, height, width, channels), float32, 0 to 255.
        output_activation: "softmax", "linear" or "sigmoid".
        thresholds: See `Activations`.

    Raises:
        ValueError: There are no images.
    """
    images = [
        pixels.astype(np.uint8)
        for batch in batches
        for pixels in np.clip(np.rint(batch), 0, 255)
    ]
    if not images:
        raise ValueError(
            "`calibration` must contain images to quantise a network with. Received: "
            "none"
        )
    graph = Graph(content)
    lows, highs = collections.defaultdict(list), collections.defaultdict(list)
    moments: dict[str, Moments] = {}
    readers = _readers(graph)
    chunks = list(split_tensors(graph))
    bar = progress_bar(len(chunks) * len(images), "  calibration", "images")
    for indices in chunks:
        random = np.random.default_rng(0)
        for _, values in run_network(content, indices, images):
            for index, found in values.items():
                lows[graph.name(index)].append(found.min())
                highs[graph.name(index)].append(found.max())
                for layer in readers[index]:
                    name = graph.name(layer.outputs[0])
                    seen = Moments.of(find_patches(graph, layer, found, random))
                    if name in moments:
                        moments[name].add(seen)
                    else:
                        moments[name] = seen
            bar.update()
    bar.close()
    kept = images[:KEPT_IMAGES]
    return Activations(
        lows={name: np.array(found) for name, found in lows.items()},
        highs={name: np.array(found) for name, found in highs.items()},
        moments=moments,
        images=np.stack(kept),
        outputs=np.stack([answer for answer, _ in run_network(content, [], kept)]),
        output_activation=output_activation,
        thresholds=thresholds,
    )


def find_ranges(content: bytes, seen: Activations, share: float) -> Ranges:
    """Chooses the range of values that integers represent, for each tensor.

    One unusual image may need a range so wide that all others are rounded coarsely.
    Therefore the `share` of images with the widest ranges is clipped, at either end.

    Args:
        content: Content of the .tflite file in float32.
        seen: Activations on calibration images.
        share: Share of images to clip, 0 to 0.5.

    Returns:
        Range of each tensor. Pixels always get 0 to 255.
    """
    ranges = {
        name: (
            float(np.quantile(seen.lows[name], share)),
            float(np.quantile(seen.highs[name], 1 - share)),
        )
        for name in seen.lows
    }
    graph = Graph(content)
    users = graph.users()
    for operator in graph.operators:
        if graph.kind(operator) == Kind.LOGISTIC:
            index = int(operator.inputs[0])
            low, high = ranges[graph.name(index)]
            # Swish multiplies by its input too: it is constant only for low values.
            alone = all(graph.kind(x) == Kind.LOGISTIC for x in users[index])
            ranges[graph.name(index)] = (
                max(low, -_SIGMOID_LIMIT),
                min(high, _SIGMOID_LIMIT) if alone else high,
            )
    (image,) = graph.inputs
    ranges[graph.name(image)] = (0.0, 255.0)
    return ranges


def _readers(graph: Graph) -> dict[int, list[Any]]:
    # Layers that read each tensor, except grouped convolutions.
    found = collections.defaultdict(list)
    for layer in graph.layers():
        channels = graph.tensors[layer.inputs[0]].shape[-1]
        if (
            graph.kind(layer) != Kind.CONV_2D
            or graph.tensors[layer.inputs[1]].shape[-1] == channels
        ):
            found[int(layer.inputs[0])].append(layer)
    return found


def split_tensors(graph: Graph) -> Iterator[list[int]]:
    """Yields the indices of all computed tensors in groups that fit into `MAX_BYTES`.

    Each group has the inputs of the graph, too.
    """
    chunk: list[int] = []
    size = 0
    for index in sorted({int(i) for x in graph.operators for i in x.outputs}):
        more = 4 * int(np.prod(graph.tensors[index].shape))
        if chunk and size + more > MAX_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(index)
        size += more
    yield [*graph.inputs, *chunk]


def run_network(
    content: bytes, indices: Sequence[int], images: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, dict[int, np.ndarray]]]:
    """Yields a network's output and the values of tensors for each image.

    Args:
        content: Content of a .tflite file in float32.
        indices: Indices of the tensors.
        images: Images, each (height, width, channels), 0 to 255.
    """
    graph = Graph(content)
    (image,), (answer,) = graph.inputs, graph.outputs
    # The interpreter preserves only outputs.
    watched = [index for index in indices if index not in (image, answer)]
    graph.model.subgraphs[0].outputs = [answer, *watched]
    graph.model.signatureDefs = []
    with quiet_stderr():
        interpreter = Interpreter(model_content=graph.pack())
        interpreter.allocate_tensors()
    for pixels in images:
        interpreter.set_tensor(image, pixels[np.newaxis].astype(np.float32))
        interpreter.invoke()
        values = {index: interpreter.get_tensor(index) for index in indices}
        yield interpreter.get_tensor(answer)[0], values
