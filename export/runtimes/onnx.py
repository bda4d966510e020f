"""Runners for ONNX Runtime and OpenVINO."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common.files import read_regular
from keras_efficientnet.common.models import check_shapes

from ..extras import require_openvino, require_package
from . import embedded

XML_FILE = "model.xml"  # the graph; the weights are in model.bin beside it


class OnnxRunner:
    """Runs an .onnx file with ONNX Runtime, on one thread."""

    def __init__(self, path: str | Path):
        self._session = open_onnx(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [[_fixed(x.shape) for x in tensors] for tensors in (inputs, outputs)]
        check_shapes(str(path), *shapes)
        self._input = inputs[0].name
        self.input_shape = shapes[0][0][1:]
        self.outputs = int(outputs[0].shape[-1])
        self.embedded = embedded.of_onnx(self._session, Path(path))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        (scores,) = self._session.run(None, {self._input: images})
        return np.asarray(scores, np.float32)


class OpenVinoRunner:
    """Runs OpenVINO's intermediate representation on one thread of the processor."""

    def __init__(self, path: str | Path):
        self._model = open_openvino(path)
        inputs, outputs = (
            [_shape(x.get_partial_shape()) for x in tensors]
            for tensors in (self._model.inputs, self._model.outputs)
        )
        check_shapes(str(path), inputs, outputs)
        self.input_shape = inputs[0][1:]
        self.outputs = int(outputs[0][-1] or 0)
        self.embedded = embedded.of_openvino(_xml_file(path))
        # A compiled model uses one request for all calls, and each call overwrites the
        # result of the one before.
        self._lock = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        with self._lock:
            return np.array(self._model([images])[0], np.float32)


def open_onnx(path: str | Path, threads: int = 1) -> Any:
    """Opens an .onnx file.

    Args:
        path: Path of the file.
        threads: Number of threads that compute an operation.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ImportError: ONNX Runtime is missing.
        ValueError: The file is not an ONNX model.
    """
    content = read_regular(Path(path))
    require_package("onnxruntime", "onnx")
    try:
        return open_session(content, threads=threads)
    # Its exceptions have no common base class.
    except Exception as error:
        raise ValueError(
            f"An .onnx file must contain an ONNX model. Received: {path} ({error})"
        ) from error


def open_session(
    content: bytes, optimized: Path | None = None, *, threads: int = 1
) -> Any:
    """Opens an ONNX model.

    Args:
        content: Content of an .onnx file.
        optimized: Path for a copy in which constants are folded and biases are part of
            the layers; None: no copy.
        threads: Number of threads that compute an operation.

    Returns:
        An `onnxruntime.InferenceSession`.
    """
    runtime = require_package("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # fatal errors only
    if optimized is not None:
        level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operations
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(optimized)
    providers = ["CPUExecutionProvider"]
    return runtime.InferenceSession(content, options, providers=providers)


def open_openvino(path: str | Path, threads: int = 1) -> Any:
    """Opens a folder with a model.xml and model.bin, or the .xml file of a model.

    Args:
        path: Path of the folder or file.
        threads: Number of threads that compute an image.

    Returns:
        An `openvino.CompiledModel`.

    Raises:
        ImportError: OpenVINO is missing.
        ValueError: There is no such model.
    """
    openvino = require_openvino()
    file = _xml_file(path)
    # By default it computes in bfloat16 or float16 on processors that support it, and
    # models and processes with one thread would all be pinned to the first core.
    options = {
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        return openvino.Core().compile_model(str(file), "CPU", options)
    except RuntimeError as error:
        raise ValueError(
            "An OpenVINO model must be an .xml file with the .bin file beside it. "
            f"Received: {file} ({error})"
        ) from error


def _xml_file(path: str | Path) -> Path:
    path = Path(path)
    return path / XML_FILE if path.is_dir() else path


def _shape(partial: Any) -> tuple[int | None, ...]:
    return tuple(None if n.is_dynamic else n.get_length() for n in partial)


def _fixed(shape: Any) -> tuple[int | None, ...]:
    # ONNX Runtime returns the names of dynamic dimensions.
    return tuple(n if isinstance(n, int) else None for n in shape)
