"""Stress test of resuming: kills training at random moments and compares the bits.

python -m benchmarks.kill_resume [--trials=20] [--epochs=1] [--seed=0] [--workers=2]
    [--case=progressive]

The training command runs once without interruption, on the digits, with random
augmentation, MixUp, dropout and a checkpoint after every step. Each trial starts the
same run in a new folder, kills it with SIGKILL, resumes it to its end, and compares
everything that the run saves: weights, optimizer slots, moving average, seeds,
counters, the best weights and the metrics. It also evaluates the saved model again and
compares the result with the reported score. The trials alternate between four kinds of
moments: any time after the start of the process; while a randomly chosen checkpoint is
written; at the end of an epoch; in the final phase.

In the case "progressive", the image size (with odd sizes), RandAugment, MixUp, CutMix
and dropout change after half of the steps.

With several workers, one of them, chosen at random, is killed, and the others must exit
on their own. The exit code is 1 unless all trials are bit-identical.
"""

import argparse
import csv
import dataclasses
import json
import math
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures

import h5py
import keras
import numpy as np

from keras_efficientnet.common.cli.exit_codes import ExitCode
from training import evaluate
from training.data import sources
from training.reporting.run_folder import RunFolder

FIELDS = {
    "model": "EfficientNet",
    "width": 0.25,
    "depth": 0.3,
    "lite": False,
    "dropout": 0.3,
    "drop_connect": 0.3,
    "augment": "randaugment",
    "mixup_alpha": 0.2,
    "random_erasing": 0.2,
    "checkpoint_every_steps": 1,
    "keep_checkpoints": 3,
}
CASES: dict[str, dict[str, object]] = {
    "plain": {},
    "progressive": {
        "progressive_schedule": "paper",
        "progressive_sizes": "33,45",
        "cutmix_alpha": 1.0,
        "mixing": "half_and_half",
    },
}
CLOCKS = {"seconds", "seconds_to_first_step"}  # the only values that may differ


def start(
    workdir: pathlib.Path, fields: dict[str, object], workers: int
) -> list[subprocess.Popen[bytes]]:
    """Starts the training command, once for each worker."""
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "-m", "training.main", "--config=digits", *options]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    hosts = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(workers):
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": hosts}, "task": task}
        tf_config = {"TF_CONFIG": json.dumps(config)} if workers > 1 else {}
        processes.append(
            subprocess.Popen(
                [*command, f"--workdir={workdir}"],
                env=environment | tf_config,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        )
    return processes


def free_ports(count: int) -> list[int]:
    """Returns unused ports."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def wait(processes: list[subprocess.Popen[bytes]]) -> list[tuple[int, str]]:
    """Waits for all processes; returns each exit code and the end of its stderr."""
    with futures.ThreadPoolExecutor(len(processes)) as pool:
        errors = list(pool.map(lambda p: p.communicate()[1], processes))
    return [
        (process.returncode, error.decode()[-2000:])
        for process, error in zip(processes, errors, strict=True)
    ]


def run(workdir: pathlib.Path, fields: dict[str, object], workers: int) -> float:
    """Trains to the end and returns the seconds it took.

    Raises:
        RuntimeError: The command failed; the message ends with its stderr.
    """
    began = time.monotonic()
    for code, error in wait(start(workdir, fields, workers)):
        if code:
            raise RuntimeError(f"Training failed with {code}: {error}")
    return time.monotonic() - began


@dataclasses.dataclass(frozen=True)
class Moment:
    """Moment at which a run is killed.

    Attributes:
        text: Description for the report.
        after_s: Seconds after the start; ignored if `file` is given.
        file: File that is being written at that moment, relative to the run folder.
    """

    text: str
    after_s: float = 0.0
    file: str | None = None


def choose_moment(kind: int, rng: random.Random, seconds: float, steps: int) -> Moment:
    """Draws a random moment of a kind, 0 to 3."""
    if kind == 1:
        step = rng.randint(1, steps)
        file = f"checkpoints/step-{step:09d}.npz"
        return Moment(f"writing the checkpoint of step {step}", file=file)
    if kind == 2:
        file = rng.choice(("metrics.csv", "checkpoints/best.weights.h5"))
        return Moment(f"at the end of an epoch, writing {file}", file=file)
    if kind == 3:
        file = rng.choice(("model.keras", "summary.json"))
        return Moment(f"in the final phase, writing {file}", file=file)
    after = rng.uniform(0, seconds)
    return Moment(f"{after:.1f} s after the start", after)


def kill(
    workdir: pathlib.Path,
    fields: dict[str, object],
    workers: int,
    victim: int,
    moment: Moment,
) -> bool:
    """Kills one worker of a run; returns whether it was still running.

    Raises:
        RuntimeError: Another worker ended with an exit code other than success or
            `WORKER_LOST`.
    """
    processes = start(workdir, fields, workers)
    readers = futures.ThreadPoolExecutor(1).submit(wait, processes)
    killed = processes[victim]
    deadline = time.monotonic() + moment.after_s
    path = workdir / (moment.file or "")
    unfinished = path.with_name(f"unfinished.{path.name}")
    while killed.poll() is None:
        if unfinished.exists() if moment.file else time.monotonic() > deadline:
            killed.kill()
            break
        time.sleep(0.0005)
    ends = readers.result()
    for index, (code, error) in enumerate(ends):
        if index != victim and code not in (0, ExitCode.WORKER_LOST):
            raise RuntimeError(f"Worker {index} ended with {code}: {error}")
    return ends[victim][0] == -signal.SIGKILL


def saved_model_has_reported_score(workdir: pathlib.Path) -> bool:
    """Returns whether the saved model reaches the reported score."""
    folder = RunFolder(workdir)
    summary, source = folder.read_summary(), sources.load("digits")
    if summary is None:
        return False
    model = keras.saving.load_model(folder.model)
    split = source.split(summary["final_split"])
    found = evaluate.evaluate(model, split, folder.read_preprocessing())
    is_near = math.isclose(found.loss, summary["final_loss"], abs_tol=1e-4)
    return found.top1 == summary["final_top1"] and is_near


def contents(workdir: pathlib.Path) -> dict[str, bytes]:
    """Reads everything that a finished run saves, except `CLOCKS`."""
    folder = RunFolder(workdir)
    found = {}
    for path in sorted(folder.checkpoints.glob("step-*.npz")):
        with np.load(path) as arrays:
            for name in set(arrays) - CLOCKS:
                found[f"{path.name}/{name}"] = arrays[name].tobytes()
    found.update(_datasets(folder.best_weights))
    with folder.metrics.open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if k not in CLOCKS}
            for row in csv.DictReader(file)
        ]
    summary = json.loads(folder.summary.read_text())
    for clock in CLOCKS:
        del summary[clock]
    found["metrics"] = json.dumps([rows, summary]).encode()
    return found


def differences(straight: dict[str, bytes], resumed: dict[str, bytes]) -> list[str]:
    """Returns the names of the contents that differ in any bit."""
    names = straight.keys() | resumed.keys()
    return sorted(name for name in names if straight.get(name) != resumed.get(name))


def _datasets(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []

    def take(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((f"{path.name}/{name}", item[()].tobytes()))

    with h5py.File(path) as file:
        file.visititems(take)
    yield from found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--case", choices=CASES, default="plain")
    args = parser.parse_args()
    fields = {**FIELDS, **CASES[args.case], "epochs": args.epochs}
    rng = random.Random(args.seed)
    equal = 0
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        seconds = run(root / "straight", fields, args.workers)
        straight = contents(root / "straight")
        steps = json.loads(RunFolder(root / "straight").summary.read_text())["steps"]
        print(f"{steps} steps, {seconds:.0f} s without interruption", flush=True)
        for i in range(args.trials):
            workdir = root / str(i)
            moment = choose_moment(i % 4, rng, seconds, steps)
            victim = rng.randrange(args.workers)
            began = time.monotonic()
            hit = kill(workdir, fields, args.workers, victim, moment)
            ended = time.monotonic() - began
            kept = RunFolder(workdir).checkpoints.glob("step-*.npz")
            latest = max((path.stem for path in kept), default="no checkpoint")
            run(workdir, fields, args.workers)
            wrong = differences(straight, contents(workdir))
            if not saved_model_has_reported_score(workdir):
                wrong.append("score of the saved model")
            equal += not wrong
            print(
                f"trial {i + 1}: killed worker {victim} {moment.text} "
                f"({'hit' if hit else 'missed'}; {latest}; ended after {ended:.0f} s): "
                f"{f'DIFFERENT: {wrong[:3]}' if wrong else 'equal'}",
                flush=True,
            )
    print(f"{equal} of {args.trials} bit-identical")
    sys.exit(equal != args.trials)


if __name__ == "__main__":
    main()
