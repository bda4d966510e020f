"""Runners of the artefacts for other runtimes: ONNX Runtime and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common.files import read_regular

from ..extras import require, require_openvino
from ..formats.openvino import XML_FILE
from .base import check_shapes


class OnnxRunner:
    """Runs an .onnx file with ONNX Runtime, on one thread."""

    def __init__(self, path: str | Path):
        self._session = open_onnx(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_shapes(str(path), inputs, outputs)
        self._input = inputs[0].name
        self.input_shape = tuple(_fixed(n) for n in inputs[0].shape[1:])
        self.classes = int(outputs[0].shape[-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        (scores,) = self._session.run(None, {self._input: images})
        return np.asarray(scores, np.float32)


class OpenVinoRunner:
    """Runs OpenVINO's intermediate representation on one thread of the processor."""

    def __init__(self, path: str | Path):
        self._model = open_openvino(path)
        inputs, outputs = (
            [_Spec(x.get_partial_shape()) for x in tensors]
            for tensors in (self._model.inputs, self._model.outputs)
        )
        check_shapes(str(path), inputs, outputs)
        self.input_shape = inputs[0].shape[1:]
        self.classes = int(outputs[0].shape[-1] or 0)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `Runner`."""
        return np.array(self._model([images])[0], np.float32)


def open_onnx(path: str | Path) -> Any:
    """Opens an .onnx file.

    Returns:
        An `onnxruntime.InferenceSession` on one thread.

    Raises:
        ImportError: ONNX Runtime is missing.
        ValueError: It is no such file.
    """
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only what ends the process
    try:
        return runtime.InferenceSession(
            read_regular(Path(path)), options, providers=["CPUExecutionProvider"]
        )
    # Its exceptions share no class of their own.
    except Exception as error:
        raise ValueError(
            f"An .onnx file must hold an ONNX model. Received: {path} ({error})"
        ) from error


def open_openvino(path: str | Path) -> Any:
    """Opens a folder with a model.xml and model.bin, or the .xml file of a model.

    Returns:
        An `openvino.CompiledModel` on one thread.

    Raises:
        ImportError: OpenVINO is missing.
        ValueError: It is no such folder or file.
    """
    openvino = require_openvino()
    path = Path(path)
    file = path / XML_FILE if path.is_dir() else path
    # It may compute in a shorter float otherwise, where the processor has one.
    options = {
        "INFERENCE_NUM_THREADS": 1,
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


class _Spec:
    def __init__(self, shape: Any):
        self.shape = tuple(None if n.is_dynamic else n.get_length() for n in shape)


def _fixed(dimension: int | str | None) -> int | None:
    # ONNX Runtime tells the names of dimensions that vary.
    return dimension if isinstance(dimension, int) else None
