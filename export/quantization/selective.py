"""Quantisation with float32 fallback for sensitive layers.

The fewer the bits, the more the choice of ranges matters. Several choices are tried on
the calibration images until one is good enough; if none is, parts of the network stay
in float32.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import statistics
import time
from collections.abc import Callable, Collection

import numpy as np

from keras_efficientnet.common.output_activation import LINEAR, to_probabilities

from ..label_agreement import compare_labels
from ..progress import track
from ..runtimes import base
from .calibration import Activations, Ranges, find_ranges
from .gptq import STEPS, Kernels, Steps, round_kernels, with_kernels
from .recipes import (
    PROBABILITY_RANGE,
    apply_recipe,
    integer_recipe,
    revive_dead_kernels,
    use_uint8_io,
)
from .tflite_graph import Graph

# Shares of the calibration images that are clipped in each tensor. The first has always
# been good enough or close; the others are tried if it is not.
SHARES = (0.05, 0.1, 0.02, 0.0)
MIN_AGREEMENT = 0.97  # share of calibration images
# Largest difference of float32 probabilities between two classes that counts as a tie:
# rounding alone can swap such classes.
TIE = 0.05
MAX_DISTANCE = 0.01  # see `QuantizedCandidate`
MAX_DISTANCE_16 = 5e-5  # the same, for activations of 16 bits
RANKING_IMAGES = 48  # for ranking the parts of a network
LOGIT_MARGIN = 0.1  # share of the range of logits, added at either end
# 16 bits are precise enough for ranges wider than the calibrated ones.
_MARGIN = 4.0
_PART = re.compile(r"(?:^|/)(block\d+[a-z]+|stem|top|predictions)(?=_)")
_SQUEEZE_EXCITE = "squeeze-excite"


@dataclasses.dataclass(frozen=True)
class QuantizedCandidate:
    """Quantised network with its accuracy on the calibration images.

    Attributes:
        content: Content of its file.
        distance: Squared distance from the float32 network's probabilities, summed
            over the classes, mean over the images.
        agreement: Share of images with the same top-1 class, or one within `TIE` of it
            in float32, 0 to 1; of a multi-label network, that of `compare_labels`.
        latency_ms: Median latency over the images, milliseconds.
    """

    content: bytes
    distance: float
    agreement: float
    latency_ms: float

    @property
    def is_good(self) -> bool:
        """True if it can replace the network in float32."""
        return self.agreement >= MIN_AGREEMENT and self.distance <= MAX_DISTANCE


@dataclasses.dataclass(frozen=True)
class RoundedNetwork:
    """Network with rounded kernels, ready for quantisation.

    Attributes:
        content: Content of a .tflite file in float32.
        kernels: Rounded kernels and corrected biases.
        ranges: Ranges of the activations.
    """

    content: bytes
    kernels: Kernels
    ranges: Ranges


@dataclasses.dataclass(frozen=True)
class Target:
    """Kind of file that candidates are written to.

    Attributes:
        build: Function from a network, its activations and the tensors to keep in
            float32 to the content of an int8 file.
        open: Function from this content to one that classifies an image,
            (height, width, channels), uint8, and returns its outputs, float32.
        steps: See `round_kernels`.
        tries_all: Whether to try all ranges and take the best, instead of the first
            that is good enough.
    """

    build: Callable[[RoundedNetwork, Activations, Collection[str]], bytes]
    open: Callable[[bytes], Callable[[np.ndarray], np.ndarray]]
    steps: Steps = lambda kind: STEPS
    tries_all: bool = False


def quantize_int16(content: bytes, seen: Activations) -> tuple[Graph, tuple[str, ...]]:
    """Quantises a network to int8 weights and int16 activations.

    Args:
        content: Content of a .tflite file in float32.
        seen: Activations on calibration images.

    Returns:
        Network with float32 input and output, and a remark on the parts in float32, if
        there are any.
    """
    ranges = {
        name: (_MARGIN * low, _MARGIN * high)
        for name, (low, high) in find_ranges(content, seen, 0.0).items()
    }
    content = revive_dead_kernels(content, ranges, 16)
    kernels = round_kernels(content, seen.moments)
    kept, remarks = _first_parts(content, kernels, seen)
    prepared = with_kernels(content, kernels, kept)
    return apply_recipe(prepared, integer_recipe(16, kept), ranges), remarks


def quantize_int8(content: bytes, seen: Activations) -> tuple[Graph, tuple[str, ...]]:
    """Quantises a network to int8 weights and activations in TFLite.

    Args:
        content: Content of a .tflite file in float32.
        seen: Activations on calibration images.

    Returns:
        Network with uint8 input and output, and a remark on the parts in float32, if
        there are any.
    """
    packed, remarks = search_int8(content, seen, TFLITE)
    return Graph(packed), remarks


def search_int8(
    content: bytes, seen: Activations, target: Target
) -> tuple[bytes, tuple[str, ...]]:
    """Searches ranges, and parts to keep in float32, for an accurate int8 network.

    Args:
        content: Content of a .tflite file in float32.
        seen: Activations on calibration images.
        target: Kind of file.

    Returns:
        Content of the file, and a remark on the parts in float32, if there are any.
    """
    candidates = []
    kernels = None
    for share in SHARES:
        ranges = find_ranges(content, seen, share)
        revived = revive_dead_kernels(content, ranges, 8)
        kernels = kernels or round_kernels(revived, seen.moments, target.steps)
        network = RoundedNetwork(revived, kernels, ranges)
        trial = _try(network, seen, target)
        if trial.is_good and not target.tries_all:
            return trial.content, ()
        candidates.append((trial, network))
    best, network = min(candidates, key=lambda found: found[0].distance)
    if best.is_good:
        return best.content, ()
    return _keep_parts(network, seen, best, target)


def layer_groups(content: bytes) -> dict[str, set[str]]:
    """Divides a network into parts that can be kept in float32.

    Args:
        content: Content of a .tflite file.

    Returns:
        Tensors that each part computes, by the part's name. Parts are the blocks, the
        stem, the top, and squeeze-excite in all blocks. Operations in between belong to
        the part before them. In networks with other layer names every operation is a
        part.
    """
    graph = Graph(content)
    found: dict[str, set[str]] = {}
    part = "stem"
    names = [graph.name(int(x.outputs[0])) for x in graph.operators]
    if not any(_PART.search(name) for name in names):
        return {name: {name} for name in names}
    for name, operator in zip(names, graph.operators, strict=True):
        match = _PART.search(name)
        part = match[1] if match else part
        found.setdefault(part, set()).add(name)
        shape = list(graph.tensors[operator.outputs[0]].shape)
        if "_se_" in name and shape[1:3] == [1, 1]:
            found.setdefault(_SQUEEZE_EXCITE, set()).add(name)
    return found


def _try(
    network: RoundedNetwork,
    seen: Activations,
    target: Target,
    kept: Collection[str] = (),
) -> QuantizedCandidate:
    return _judge(target.build(network, seen, kept), seen, target)


def _build_tflite(
    network: RoundedNetwork, seen: Activations, kept: Collection[str]
) -> bytes:
    prepared = with_kernels(network.content, network.kernels, kept)
    graph = apply_recipe(prepared, integer_recipe(8, kept), network.ranges)
    use_uint8_io(graph, _range(seen))
    return graph.pack()


def _open_tflite(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    interpreter = base.open_tflite(content, "the quantised network")
    (image,) = interpreter.get_input_details()
    (answer,) = interpreter.get_output_details()

    def classify(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(
            image["index"], pixels[np.newaxis].astype(image["dtype"])
        )
        interpreter.invoke()
        return base.dequantize(interpreter.get_tensor(answer["index"])[0], answer)

    return classify


TFLITE = Target(_build_tflite, _open_tflite)


def _range(seen: Activations) -> tuple[float, float]:
    """Returns the lowest and the highest output that integers represent."""
    if seen.output_activation != LINEAR:
        return 0.0, PROBABILITY_RANGE
    low, high = float(seen.outputs.min()), float(seen.outputs.max())
    reach = max(high - low, 1e-6) * LOGIT_MARGIN  # beyond the calibrated range
    return low - reach, high + reach


def _judge(content: bytes, seen: Activations, target: Target) -> QuantizedCandidate:
    classify = target.open(content)
    found, times = [], []
    for pixels in track(seen.images, "  trial of a candidate", "images"):
        start = time.perf_counter()
        found.append(classify(pixels))
        times.append(time.perf_counter() - start)
    probabilities = to_probabilities(np.stack(found), seen.output_activation)
    expected = seen.probabilities
    return QuantizedCandidate(
        content,
        float(np.square(probabilities - expected).sum(axis=1).mean()),
        _agreement(expected, probabilities, seen.thresholds),
        1000 * statistics.median(times),
    )


def _agreement(
    expected: np.ndarray, found: np.ndarray, thresholds: tuple[float, ...] | None
) -> float:
    if thresholds is not None:
        return compare_labels(expected, found, np.array(thresholds)).agreement
    rows = np.arange(len(found))
    lost = expected.max(1) - expected[rows, found.argmax(1)]
    return float(np.mean(lost <= TIE))


def _first_parts(
    content: bytes, kernels: Kernels, seen: Activations
) -> tuple[set[str], tuple[str, ...]]:
    # 16-bit activations round finely, so only the rounded kernels matter, and these can
    # be tried in floats, which run many times faster.
    choices = {n: p for n, p in layer_groups(content).items() if n != _SQUEEZE_EXCITE}

    def keep(count: int) -> set[str]:
        return set[str]().union(*list(choices.values())[:count])

    def distance(count: int) -> float:
        prepared = with_kernels(content, kernels, keep(count))
        return _judge(prepared, seen, TFLITE).distance

    count = _fewest(len(choices), lambda n: distance(n) <= MAX_DISTANCE_16)
    if not count:
        return set(), ()
    remark = (
        f"The first {count} of {len(choices)} parts are in float32, because rounded "
        f"weights change outputs most there: {', '.join(list(choices)[:count])}."
    )
    return keep(count), (remark,)


def _fewest(limit: int, is_enough: Callable[[int], bool]) -> int:
    # Bisection between 0 and `limit`, which is assumed to be enough.
    if is_enough(0):
        return 0
    low, high = 1, limit
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _keep_parts(
    network: RoundedNetwork,
    seen: Activations,
    plain: QuantizedCandidate,
    target: Target,
) -> tuple[bytes, tuple[str, ...]]:
    choices = layer_groups(network.content)
    few = dataclasses.replace(
        seen,
        images=seen.images[:RANKING_IMAGES],
        outputs=seen.outputs[:RANKING_IMAGES],
    )
    alone = {
        name: _try(network, few, target, choices[name]).distance
        for name in track(choices, "  ranking of blocks", "blocks")
    }
    order = sorted(choices, key=lambda name: alone[name])

    @functools.cache
    def keep(count: int) -> QuantizedCandidate:
        names = set[str]().union(*(choices[name] for name in order[:count]))
        return _try(network, seen, target, names)

    # The smallest number of the most helpful parts.
    count = _fewest(len(order), lambda n: keep(n).is_good)
    best = keep(count)
    megabytes = (len(best.content) - len(plain.content)) / 1e6
    unit = "images" if seen.thresholds is None else "labels"
    remark = (
        f"With integers only, it agreed with float32 on {plain.agreement:.1%} of the "
        f"calibration {unit}; with {count} of {len(order)} parts in float32, on "
        f"{best.agreement:.1%}: {', '.join(order[:count])}. This costs "
        f"{megabytes:.2f} MB and {best.latency_ms - plain.latency_ms:+.2f} ms here."
    )
    return best.content, (remark,)
