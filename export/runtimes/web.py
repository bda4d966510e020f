"""Runner for the network of a web page."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.files import read_regular

from . import embedded

MODEL_FILE = "model.tflite"


class WebRunner:
    """Runs the network of a web folder with LiteRT, on one thread.

    Besides scores it may return features, (1, height, width, channels).
    """

    def __init__(self, folder: str | Path):
        path = Path(folder) / MODEL_FILE
        self._interpreter = _open(path)
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = [[tuple(map(int, x["shape"])) for x in y] for y in (inputs, outputs)]
        flat = [tensor for tensor in outputs if len(tensor["shape"]) == 2]
        if len(inputs) != 1 or len(shapes[0][0]) != 4 or len(flat) != 1:
            raise ValueError(
                "The model of a web folder must map images to scores. "
                f"Received: {path}, inputs {shapes[0]}, outputs {shapes[1]}"
            )
        self._input, self._output = inputs[0]["index"], flat[0]["index"]
        self.input_shape: tuple[int | None, ...] = shapes[0][0][1:]
        self.outputs = int(flat[0]["shape"][1])
        self.embedded = embedded.of_web(Path(folder))
        self._lock = threading.Lock()  # the interpreter has one set of tensors

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `base.Runner`."""
        with self._lock:
            return np.concatenate([self._classify(image) for image in images])

    def _classify(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _open(path: Path) -> Interpreter:
    try:
        with quiet_stderr():
            interpreter = Interpreter(model_content=read_regular(path), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"A web folder must contain a TFLite model. Received: {path} ({error})"
        ) from error
    return interpreter
