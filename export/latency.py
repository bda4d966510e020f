"""How long one image takes on one thread."""

from __future__ import annotations

import dataclasses
import json
import os
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


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one image takes on one thread, milliseconds.

    Attributes:
        median_ms: Half of the runs are quicker.
        p95_ms: 95 of 100 runs are quicker.
    """

    median_ms: float
    p95_ms: float


def measure(row: Format, artefact: Path, image_size: int) -> Latency:
    """Measures how long an artefact takes for one image on one thread.

    Args:
        row: Its format.
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
    image = np.full((1, image_size, image_size, 3), 127, np.float32)
    for _ in range(WARM_UP):
        runner(image)
    times: list[float] = []
    while len(times) < 3 or (len(times) < MAX_RUNS and sum(times) < MAX_SECONDS):
        start = time.perf_counter()
        runner(image)
        times.append(time.perf_counter() - start)
    median, p95 = (1000 * float(q) for q in np.quantile(times, (0.5, 0.95)))
    return Latency(median, p95)


def measure_saved_model(path: Path, image_size: int) -> Latency:
    """Measures a SavedModel in a process of its own.

    TensorFlow's number of threads is settled when it starts, and this process needs
    all of them for everything else.

    Args:
        path: Folder of the SavedModel.
        image_size: Side of the input, pixels.
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
    return Latency(*json.loads(done.stdout.splitlines()[-1]))


def main(argv: Sequence[str]) -> None:
    """Prints the latency of a SavedModel; arguments: its folder, image size."""
    found = measure_runner(SavedModelRunner(argv[0]), int(argv[1]))
    print(json.dumps(dataclasses.astuple(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
