"""Tensors that an ONNX and a TFLite graph of the same network have in common.

Both converters rename, fuse and reorder operations in their own way, so neither names
nor positions are a guide: tensors correspond if they have the same values on an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..extras import require_package
from ..runtimes.onnx import open_session
from .calibration import MAX_BYTES, run_network, split_tensors
from .tflite_graph import Graph

_TOLERANCE = 1e-3  # ratio to the largest magnitude; rounding errors grow with depth


def match_tensors(model: Any, content: bytes, image: np.ndarray) -> dict[str, str]:
    """Finds the TFLite tensor with the same values as an ONNX tensor.

    Args:
        model: ONNX model in float32.
        content: Content of a .tflite file in float32 of the same network.
        image: Image to compare values on, (height, width, channels), 0 to 255.

    Returns:
        Name in ONNX -> name in TFLite. Tensors without a counterpart are left out.
    """
    graph = Graph(content)
    names, rows = [], []
    for indices in split_tensors(graph):
        ((_, values),) = run_network(content, indices, [image])
        names += [graph.name(index) for index in values]
        rows += [_fingerprint(value) for value in values.values()]
    known, found = np.stack(rows), {}
    for name, value in _run_onnx(model, image, sum(row[0] for row in rows)):
        mine = _fingerprint(value)
        gaps = np.abs(known - mine).max(axis=1) / max(mine[-1], 1e-12)
        gaps[known[:, 0] != mine[0]] = np.inf  # another number of values
        best = int(gaps.argmin())
        if gaps[best] <= _TOLERANCE:
            found[name] = names[best]
    return found


def _fingerprint(values: np.ndarray) -> np.ndarray:
    # Statistics that do not depend on the order of the dimensions; the last is the
    # largest magnitude.
    values = np.asarray(values, np.float64).ravel()
    quantiles = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
    peak = np.abs(values).max()
    return np.array([values.size, values.mean(), values.std(), *quantiles, peak])


def _run_onnx(
    model: Any, image: np.ndarray, values: float
) -> Iterator[tuple[str, np.ndarray]]:
    # Yields float tensors, a chunk at a time; `values` is about their total number.
    computed = [name for node in model.graph.node for name in node.output if name]
    chunks = int(np.ceil(4 * values / MAX_BYTES))
    for names in np.array_split(np.array(computed), max(chunks, 1)):
        watched = type(model)()
        watched.CopyFrom(model)
        ends = {tensor.name for tensor in model.graph.output}
        helper = require_package("onnx", "onnx").helper
        watched.graph.output.extend(
            helper.make_empty_tensor_value_info(name)
            for name in names.tolist()
            if name not in ends
        )
        session = open_session(watched.SerializeToString())
        (tensor,) = session.get_inputs()
        pixels = image[np.newaxis].astype(np.float32)
        found = session.run(names.tolist(), {tensor.name: pixels})
        for name, value in zip(names.tolist(), found, strict=True):
            if value.dtype == np.float32 and value.size:
                yield name, value
