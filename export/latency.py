"""Single-image latency of artefacts on one thread."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_efficientnet.cost import tflite_latency
from keras_efficientnet.cost.tflite_latency import Latency

from .formats.registry import Format
from .runtimes.base import Runner, SavedModelRunner


def measure_artefact(row: Format, artefact: Path, image_size: int) -> Latency:
    """Measures the latency of an artefact for one image on one thread.

    Args:
        row: Format of the artefact.
        artefact: The file or folder.
        image_size: Side of the input, pixels.
    """
    if row.runner is SavedModelRunner:
        return measure_saved_model(artefact, image_size)
    return measure_runner(row.runner(artefact), image_size)


def measure_runner(runner: Runner, image_size: int) -> Latency:
    """Measures single-image latency.

    Args:
        runner: Model to run.
        image_size: Side of the input, pixels.
    """
    channels = int(runner.input_shape[-1] or 0)
    image = np.full((1, image_size, image_size, channels), 127, np.float32)
    return tflite_latency.time_calls(lambda: runner(image))


def measure_saved_model(path: Path, image_size: int) -> Latency:
    """Measures a SavedModel in a separate process.

    TensorFlow's number of threads is fixed at start-up, and this process needs all of
    them for other work.

    Args:
        path: Folder of the SavedModel.
        image_size: Side of the input, pixels.
    """
    one_thread = {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",  # this process may have allocated the GPU
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path), str(image_size)],
        env=os.environ | one_thread,
        capture_output=True,
        text=True,
        check=True,
    )
    return Latency(*json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str]) -> None:
    """Prints the latency of a SavedModel; arguments: its folder, image size."""
    found = measure_runner(SavedModelRunner(argv[0]), int(argv[1]))
    print(json.dumps(dataclasses.astuple(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
