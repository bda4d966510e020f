"""Kills training at random moments, resumes it, and compares the bits.

python -m benchmarks.kill_resume [--trials=20] [--epochs=1] [--seed=0]

A run of the training command on the digits, with random augmentation, MixUp, dropout
and a checkpoint after every step, is made once without a pause. Each trial starts it
in a new folder, kills it with SIGKILL, starts it again to its end, and compares
everything that the run has kept: weights, slots, average, seeds, counters, the best
weights, the metrics. Trials with even numbers die while they write a randomly chosen
checkpoint, the others at a random moment, from the start of the process on. The exit
code is 1 unless all are equal to the bit.
"""

import argparse
import csv
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import h5py
import numpy as np

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
CLOCKS = {"seconds", "seconds_to_first_step"}  # the only thing that may differ


def start(workdir: pathlib.Path, epochs: float) -> subprocess.Popen[bytes]:
    """Starts the training command."""
    fields = {**FIELDS, "epochs": epochs}
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "-m", "training.main", "--config=digits", *options]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def run(workdir: pathlib.Path, epochs: float) -> float:
    """Trains to the end; returns seconds.

    Raises:
        RuntimeError: The command failed; the message ends with what it wrote.
    """
    began = time.monotonic()
    process = start(workdir, epochs)
    _, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"Training failed: {error.decode()[-2000:]}")
    return time.monotonic() - began


def kill_at(workdir: pathlib.Path, epochs: float, seconds: float) -> bool:
    """Kills a run so many seconds after its start; tells whether it was still there."""
    process = start(workdir, epochs)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode != 0


def kill_while_writing(workdir: pathlib.Path, epochs: float, step: int) -> bool:
    """Kills a run that writes the checkpoint of a step; tells whether it was hit.

    It was when a part of the checkpoint lies there, under its provisional name.
    """
    folder = RunFolder(workdir).checkpoints
    unfinished = folder / f"unfinished.step-{step:09d}.npz"
    process = start(workdir, epochs)
    while process.poll() is None and not unfinished.exists():
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    return unfinished.exists()


def contents(workdir: pathlib.Path) -> dict[str, bytes]:
    """Reads everything that a finished run has kept, except clocks."""
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
    """Returns the names of what is not equal to the bit."""
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
    args = parser.parse_args()
    rng = random.Random(args.seed)
    equal = 0
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        seconds = run(root / "straight", args.epochs)
        straight = contents(root / "straight")
        steps = json.loads(RunFolder(root / "straight").summary.read_text())["steps"]
        print(f"{steps} steps, {seconds:.0f} s without a pause", flush=True)
        for i in range(args.trials):
            workdir = root / str(i)
            if i % 2:
                step = rng.randint(1, steps)
                hit = kill_while_writing(workdir, args.epochs, step)
                moment = f"writing the checkpoint of step {step}"
            else:
                after = rng.uniform(0, seconds)
                hit = kill_at(workdir, args.epochs, after)
                moment = f"{after:.1f} s after the start"
            kept = RunFolder(workdir).checkpoints.glob("step-*.npz")
            latest = max((path.stem for path in kept), default="no checkpoint")
            run(workdir, args.epochs)
            wrong = differences(straight, contents(workdir))
            equal += not wrong
            print(
                f"trial {i + 1}: killed {moment} ({'hit' if hit else 'missed'}; "
                f"{latest}): {f'DIFFERENT: {wrong[:3]}' if wrong else 'equal'}",
                flush=True,
            )
    print(f"{equal} of {args.trials} equal to the bit")
    sys.exit(equal != args.trials)


if __name__ == "__main__":
    main()
