"""What a network computes on real images: ranges and means of its activations."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Iterable

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from .graph import Graph, Kind
from .quiet import quiet_stderr

Ranges = dict[str, tuple[float, float]]  # of tensors by name: lowest, highest value

# The sigmoid of 8 is 0.9997: beyond, eight bits tell no difference.
_SIGMOID_LIMIT = 8.0
KEPT_IMAGES = 200  # that quantised networks are tried on


@dataclasses.dataclass(frozen=True)
class Activations:
    """What was seen of each tensor of a network, by name.

    Attributes:
        lows: Least value in each image, (images,).
        highs: Greatest value in each image, (images,).
        means: Mean of each channel, (channels,), float64.
        images: The first `KEPT_IMAGES`, (images, height, width, 3), uint8.
        probabilities: The network's answers to these, (images, classes), float32.
    """

    lows: dict[str, np.ndarray]
    highs: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    images: np.ndarray
    probabilities: np.ndarray


def observe(content: bytes, batches: Iterable[np.ndarray]) -> Activations:
    """Runs a network on images and watches its activations.

    Args:
        content: Of a .tflite file in float32.
        batches: (batch, height, width, 3), float32, 0 to 255.

    Raises:
        ValueError: There are no images.
    """
    interpreter, names = _watched(content)
    (image,) = interpreter.get_input_details()
    (answer,) = interpreter.get_output_details()
    lows, highs = collections.defaultdict(list), collections.defaultdict(list)
    sums: dict[str, np.ndarray] = {}
    count, images, answers = 0, [], []
    for batch in batches:
        for pixels in np.clip(np.rint(batch), 0, 255).astype(np.float32):
            interpreter.set_tensor(image["index"], pixels[np.newaxis])
            interpreter.invoke()
            for index, name in names.items():
                values = interpreter.get_tensor(index)
                lows[name].append(values.min())
                highs[name].append(values.max())
                channels = values.reshape(-1, values.shape[-1])
                sums[name] = sums.get(name, 0) + channels.mean(0, dtype=np.float64)
            count += 1
            if count <= KEPT_IMAGES:
                images.append(pixels.astype(np.uint8))
                answers.append(interpreter.get_tensor(answer["index"])[0])
    if not images:
        raise ValueError(
            "`calibration` must hold images to quantise a network with. Received: none"
        )
    return Activations(
        lows={name: np.array(found) for name, found in lows.items()},
        highs={name: np.array(found) for name, found in highs.items()},
        means={name: total / count for name, total in sums.items()},
        images=np.stack(images),
        probabilities=np.stack(answers),
    )


def find_ranges(content: bytes, seen: Activations, share: float) -> Ranges:
    """Chooses the values that integers have to stand for.

    One odd image may need a range so wide that all others are rounded coarsely. So the
    widest `share` of the images is clipped, at either end.

    Args:
        content: Of the .tflite file in float32.
        seen: On calibration images.
        share: Of the images, 0 to 0.5.

    Returns:
        Range of each tensor. Pixels get 0 to 255 whatever the images are.
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
            # Swish multiplies by its input too: only to the left is it constant.
            alone = all(graph.kind(x) == Kind.LOGISTIC for x in users[index])
            ranges[graph.name(index)] = (
                max(low, -_SIGMOID_LIMIT),
                min(high, _SIGMOID_LIMIT) if alone else high,
            )
    (image,) = graph.inputs
    ranges[graph.name(image)] = (0.0, 255.0)
    return ranges


def _watched(content: bytes) -> tuple[Interpreter, dict[int, str]]:
    graph = Graph(content)
    computed = {int(i) for x in graph.operators for i in x.outputs} | {*graph.inputs}
    with warnings.catch_warnings(), quiet_stderr():
        # It says that keeping all tensors takes memory.
        warnings.simplefilter("ignore")
        interpreter = Interpreter(
            model_content=content, experimental_preserve_all_tensors=True
        )
        interpreter.allocate_tensors()
    return interpreter, {index: graph.name(index) for index in sorted(computed)}
