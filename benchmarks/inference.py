"""Latency and throughput of inference on a server, in every runtime.

python -m benchmarks.inference [--networks=b0,lite0] [--batches=1,8,32] [--threads=1,2]
    [--rounds=5] [--conversions=1] [--torch_python=PATH] [--output=results.json]
    [--files=DIR] [--write_docs]

Every contender classifies the same image in its own process, and all of them use the
same cores. They take turns, a few runs each, so that changes in the machine's speed
affect all of them. Those that cannot run here are listed with the reason. A run goes
from an array of pixels to an array of probabilities; in the cells "JPEG", from the
bytes of a photo to labels. In the cells "clients", several single images are classified
at once, on a thread each. `classify` is the SavedModel's signature for that; the other
runtimes decode with Pillow. The weights are random. The time to convert our network to
TFLite is measured too, by our exporter and by Keras.

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
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.runtimes import results
from benchmarks.runtimes.contenders import ENVIRONMENT, OPENERS, REQUESTS
from benchmarks.runtimes.networks import MISSING, prepare, time_conversions
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
    clients: int = 1,
) -> Worker:
    """Starts a contender on as many cores as its clients have threads."""
    command = [python, "-m", "benchmarks.runtimes.contenders", str(folder), name]
    command += [f"--threads={threads}", f"--clients={clients}"]
    command += ["--requests"] if requests else []
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": str(threads * clients),
    }
    cores = sorted(os.sched_getaffinity(0))[: threads * clients]
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


def start_all(
    names: Iterable[str],
    folder: Path,
    threads: int,
    missing: dict[str, str],
    *,
    torch_python: str = sys.executable,
    requests: bool = False,
    clients: int = 1,
) -> dict[str, Worker]:
    """Starts all contenders that can run here.

    Args:
        names: Contenders.
        folder: Folder from `prepare`, with the name of the network.
        threads: Number of threads that compute a run.
        missing: Contender -> reason why it cannot run; the others are added.
        torch_python: Interpreter with timm.
        requests: Whether they classify files.
        clients: Number of runs at once.

    Returns:
        Contenders by name.

    Raises:
        ValueError: The contender that ratios compare with cannot run.
    """
    workers = {}
    for name in names:
        if name in missing:
            continue
        python = torch_python if name == "torch" else sys.executable
        if shutil.which(python) is None:
            missing[name] = f"there is no {python}"
            continue
        options: Any = {"python": python, "requests": requests, "clients": clients}
        worker = start(name, folder, threads, **options)
        try:
            worker.request([1, 1])
        except RuntimeError:
            missing[name] = worker.stop()
        else:
            workers[name] = worker
    if results.REFERENCE not in workers:
        _stop(workers)
        raise ValueError(
            f"{results.REFERENCE} must be installed, with which the others are "
            f"compared. Received: {missing[results.REFERENCE]}"
        )
    return workers


def measure(
    folder: Path,
    batches: Sequence[int],
    threads: int,
    rounds: int,
    torch_python: str,
    missing: dict[str, str],
) -> dict[str, Any]:
    """Measures all contenders of a network with a number of threads.

    Args:
        folder: Folder from `prepare`, with the name of the network.
        batches: Numbers of images per run.
        threads: Number of threads and cores of each contender.
        rounds: Number of rounds.
        torch_python: Interpreter with timm.
        missing: See `start_all`.

    Returns:
        Summary of each cell, by the cell's name.
    """
    workers = start_all(OPENERS, folder, threads, missing, torch_python=torch_python)
    cells, suffix = {}, f"{threads} thread{'s' if threads > 1 else ''}"
    for images in batches:
        found = take_turns(workers, images, rounds)
        cells[f"batch {images}, {suffix}"] = results.summarize(found, images)
    _stop(workers)
    workers = start_all(REQUESTS, folder, threads, missing, requests=True)
    found = take_turns(workers, 1, rounds)
    cells[f"{suffix}, JPEG"] = results.summarize(found, 1)
    _stop(workers)
    return cells


def measure_clients(
    folder: Path, clients: int, rounds: int, torch_python: str, missing: dict[str, str]
) -> dict[str, Any]:
    """Measures all contenders with several single images at once, a thread for each.

    Args:
        folder: Folder from `prepare`, with the name of the network.
        clients: Number of images at once.
        rounds: Number of rounds.
        torch_python: Interpreter with timm.
        missing: See `start_all`.

    Returns:
        Summary of the cell, by its name.
    """
    options: Any = {"torch_python": torch_python, "clients": clients}
    workers = start_all(OPENERS, folder, 1, missing, **options)
    found = take_turns(workers, 1, rounds)
    _stop(workers)
    return {f"{clients} clients": results.summarize(found, clients)}


def _stop(workers: Mapping[str, Worker]) -> None:
    for worker in workers.values():
        worker.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="b0,lite0")
    parser.add_argument("--batches", default="1,8,32", help="images per run")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--conversions", type=int, default=1, help="to TFLite")
    parser.add_argument("--torch_python", default=sys.executable, help="with timm")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--files", type=Path, help="folder to keep the files in")
    parser.add_argument("--write_docs", action="store_true")
    args = parser.parse_args()
    batches, threads = (
        [int(x) for x in text.split(",")] for text in (args.batches, args.threads)
    )
    found: dict[str, Any] = {"networks": {}, "missing": {}, "conversion": {}}
    if args.output is not None and args.output.exists():
        found = json.loads(args.output.read_text())
    found["machine"] = results.machine()
    for network in args.networks.split(","):
        with tempfile.TemporaryDirectory() as parent:
            folder = (args.files or Path(parent)) / network
            if not folder.exists():
                prepare(network, folder)
            missing = json.loads((folder / MISSING).read_text())
            cells = found["networks"].setdefault(network, {})
            for count in threads:
                cells |= measure(
                    folder, batches, count, args.rounds, args.torch_python, missing
                )
                if count > 1:
                    cells |= measure_clients(
                        folder, count, args.rounds, args.torch_python, missing
                    )
                found["missing"][network] = missing
                save(found, args.output)  # in case that a later part fails
        if args.conversions:
            found["conversion"][network] = time_conversions(network, args.conversions)
    save(found, args.output)
    print(results.format_tables(found))
    report(found, args.write_docs)


def save(found: dict[str, Any], path: Path | None) -> None:
    """Writes results to a file, if there is one."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")


def report(found: dict[str, Any], write_docs: bool) -> None:
    """Compares results with the committed ones, or replaces them."""
    if COMMITTED.exists():
        print("\n".join(results.compare(found, json.loads(COMMITTED.read_text()))))
    if write_docs:
        save(found, COMMITTED)
        tables = results.format_tables(found)
        PAGE.write_text(results.replace_tables(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()
