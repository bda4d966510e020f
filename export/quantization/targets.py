"""Int8 files for ONNX Runtime and OpenVINO, as targets of the search for ranges."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from ..runtimes.onnx import open_session
from .calibration import Activations
from .qdq import FloatNetwork, Placement, QdqWriter, count_steps
from .selective import RoundedNetwork, Target

_EXACT_SHAPES = ("Squeeze", "Reshape", "Transpose")
# ONNX Runtime's integer kernels also write integers.
ONNX_RUNTIME = Placement(
    kinds=(
        *("Conv", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "GlobalAveragePool"),
        *("MaxPool", "AveragePool", *_EXACT_SHAPES),
    ),
    rounds_outputs=True,
    rounds_swish=True,
)
# OpenVINO's convolutions can apply swish to floats before they write integers.
OPENVINO = Placement(
    kinds=(
        *("Conv", "Gemm", "MatMul", "Add", "Mul", "GlobalAveragePool"),
        *("MaxPool", "AveragePool", *_EXACT_SHAPES),
    ),
    rounds_outputs=False,
    rounds_swish=False,
)


def onnx_target(network: FloatNetwork, placement: Placement) -> Target:
    """Returns the target for an ONNX file in QDQ form.

    Args:
        network: Network in float32.
        placement: Operations that the runtime computes in integers.
    """

    def build(
        rounded: RoundedNetwork, seen: Activations, kept: Collection[str]
    ) -> bytes:
        writer = QdqWriter(network, rounded.ranges, rounded.kernels, kept, placement)
        content: bytes = writer.write().SerializeToString()
        return content

    return Target(build, _open, count_steps, tries_all=True)


def _open(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    session = open_session(content)
    (tensor,) = session.get_inputs()

    def classify(pixels: np.ndarray) -> np.ndarray:
        images = pixels[np.newaxis].astype(np.float32)
        (scores,) = session.run(None, {tensor.name: images})
        return np.asarray(scores[0], np.float32)

    return classify
