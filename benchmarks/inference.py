"""Latency and throughput of inference on a server, in every runtime.

python -m benchmarks.inference [--networks=b0,lite0] [--batches=1,8,32] [--threads=1,2]
    [--rounds=5] [--conversions=1] [--torch_python=PATH] [--output=results.json]
    [--files=DIR] [--write_docs]

Every contender classifies the same image in its own process, and all of them use the
same cores. They take turns, a few runs each, so that changes in the machine's speed
affect all of them. A run goes from an array of pixels to an array of probabilities; in
the cells "JPEG", from the bytes of a photo to labels. `classify` is the SavedModel's
signature for that; the other runtimes decode with Pillow. The weights are random. The
time to convert our network to TFLite is measured too, by our exporter and by Keras.

Ratios compare medians with ONNX Runtime's, in the same run; they are the medians over
rounds. Those that differ from benchmarks/runtimes/results.json by a quarter are listed;
`--write_docs` replaces that file and the tables in docs/benchmarks.md. Parts can be
measured one after the other: with `--files` the exported files are kept, and results
are added to an existing `--output`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.runtimes import results
from benchmarks.runtimes.contenders import ENVIRONMENT, FILES, OPENERS, REQUESTS
from benchmarks.runtimes.networks import prepare, time_conversions
from benchmarks.workers import ROOT, Worker

COMMITTED = ROOT / "benchmarks" / "runtimes" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
RUN_MS = 200  # time of a contender in a round, at least one run


def start(
    name: str,
    folder: Path,
    threads: int,
    *,
    python: str = sys.executable,
    requests: bool = False,
) -> Worker:
    """Starts a contender on as many cores as threads."""
    command = [python, "-m", "benchmarks.runtimes.contenders", str(folder), name]
    command += [f"--threads={threads}", *(["--requests"] if requests else [])]
    environment = dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
    )
    cores = sorted(os.sched_getaffinity(0))[:threads]
    return Worker(command, cores, environment | ENVIRONMENT.get(name, {}))


def take_turns(
    workers: Mapping[str, Worker], images: int, rounds: int
) -> dict[str, list[list[float]]]:
    """Measures contenders in turns.

    Args:
        workers: Contenders by name.
        images: Number of images per run.
        rounds: Number of rounds.

    Returns:
        Milliseconds of each run, by contender and round.
    """
    runs = {}
    for name, worker in workers.items():
        worker.request([images, 2])  # warms up
        (once,) = worker.request([images, 1])
        runs[name] = max(1, round(RUN_MS / once))
    found: dict[str, list[list[float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            if runs[name] > 1:
                worker.request([images, 1])  # brings its data into the caches
            found[name].append(worker.request([images, runs[name]]))
    return found


def measure(
    folder: Path, batches: Sequence[int], threads: int, rounds: int, torch_python: str
) -> dict[str, Any]:
    """Measures all contenders of a network with a number of threads.

    Args:
        folder: Folder from `prepare`, with the name of the network.
        batches: Numbers of images per run.
        threads: Number of threads and cores of each contender.
        rounds: Number of rounds.
        torch_python: Interpreter with timm, or "".

    Returns:
        Summary of each cell, by the cell's name.
    """
    names = [x for x in OPENERS if x in FILES and (folder / FILES[x]).exists()]
    workers = {name: start(name, folder, threads) for name in names}
    if torch_python:
        workers["torch"] = start("torch", folder, threads, python=torch_python)
    cells, suffix = {}, f"{threads} thread{'s' if threads > 1 else ''}"
    for images in batches:
        found = take_turns(workers, images, rounds)
        cells[f"batch {images}, {suffix}"] = results.summarize(found, images)
    _stop(workers)
    workers = {x: start(x, folder, threads, requests=True) for x in REQUESTS}
    found = take_turns(workers, 1, rounds)
    cells[f"{suffix}, JPEG"] = results.summarize(found, 1)
    _stop(workers)
    return cells


def _stop(workers: Mapping[str, Worker]) -> None:
    for worker in workers.values():
        worker.stop()


def has_torch(python: str) -> bool:
    """Returns whether an interpreter can run the PyTorch contender."""
    probe = [python, "-c", "import numpy, timm, torch"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="b0,lite0")
    parser.add_argument("--batches", default="1,8,32", help="images per run")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--conversions", type=int, default=1, help="to TFLite")
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--files", type=Path, help="folder to keep the files in")
    parser.add_argument("--write_docs", action="store_true")
    args = parser.parse_args()
    batches, threads = (
        [int(x) for x in text.split(",")] for text in (args.batches, args.threads)
    )
    python = args.torch_python if has_torch(args.torch_python) else ""
    found: dict[str, Any] = {"networks": {}, "conversion": {}}
    if args.output is not None and args.output.exists():
        found = json.loads(args.output.read_text())
    found["machine"] = results.machine()
    for network in args.networks.split(","):
        with tempfile.TemporaryDirectory() as parent:
            folder = (args.files or Path(parent)) / network
            if not folder.exists():
                prepare(network, folder)
            cells = found["networks"].setdefault(network, {})
            for count in threads:
                cells |= measure(folder, batches, count, args.rounds, python)
        if args.conversions:
            found["conversion"][network] = time_conversions(network, args.conversions)
    print(results.format_tables(found))
    report(found, args.output, args.write_docs)


def report(found: dict[str, Any], output: Path | None, write_docs: bool) -> None:
    """Compares results with the committed ones and writes files."""
    text = json.dumps(found, indent=1) + "\n"
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    if COMMITTED.exists():
        print("\n".join(results.compare(found, json.loads(COMMITTED.read_text()))))
    if write_docs:
        COMMITTED.write_text(text)
        tables = results.format_tables(found)
        PAGE.write_text(results.replace_tables(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()
