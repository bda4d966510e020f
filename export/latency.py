"""How long one image takes on one thread."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .formats import Format
from .runners import Runner, SavedModelRunner

WARM_UP = 3  # runs that do not count
MAX_RUNS = 50
MAX_SECONDS = 1.0  # of measuring; a slow network gets fewer runs, at least 3


def latency_ms(row: Format, artefact: Path, image_size: int) -> float:
    """Measures how long an artefact takes for one image on one thread.

    Args:
        row: Its format.
        artefact: The file or folder.
        image_size: Side of the input, pixels.

    Returns:
        Median latency, milliseconds.
    """
    if row.runner is SavedModelRunner:
        return saved_model_ms(artefact, image_size)
    return median_ms(row.runner(artefact), image_size)


def median_ms(runner: Runner, image_size: int) -> float:
    """Measures single-image latency.

    Args:
        runner: Model to run.
        image_size: Side of the input, pixels.

    Returns:
        Median over the runs, milliseconds.
    """
    image = np.full((1, image_size, image_size, 3), 127, np.float32)
    for _ in range(WARM_UP):
        runner(image)
    times: list[float] = []
    while len(times) < 3 or (len(times) < MAX_RUNS and sum(times) < MAX_SECONDS):
        start = time.perf_counter()
        runner(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def saved_model_ms(path: Path, image_size: int) -> float:
    """Measures a SavedModel in a process of its own.

    TensorFlow's number of threads is settled when it starts, and this process needs
    all of them for everything else.

    Args:
        path: Folder of the SavedModel.
        image_size: Side of the input, pixels.

    Returns:
        Median latency, milliseconds.
    """
    one_thread = {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path), str(image_size)],
        env=os.environ | one_thread,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main(argv: Sequence[str]) -> None:
    """Prints the latency of a SavedModel; arguments: its folder, image size."""
    print(median_ms(SavedModelRunner(argv[0]), int(argv[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
