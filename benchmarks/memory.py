"""Memory of a training process after each epoch.

python -m benchmarks.memory [--epochs=40] [--skip=10]

Trains the quickstart's run with random augmentation and MixUp. "growth" is the slope
of a straight line through all epochs except the first ones, in which allocator and
thread pools still fill. Linux only.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np

MIB = 2**20


def resident_mib(process: int) -> float:
    """Returns the resident set size of a process, in MiB."""
    pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / MIB


def train(epochs: int, workdir: str) -> list[float]:
    """Trains in a separate process and returns MiB after each epoch."""
    command = [sys.executable, "-m", "training.main", "--config=digits"]
    fields = {"epochs": epochs, "augment": "randaugment", "mixup_alpha": 0.2}
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    sizes = []
    with subprocess.Popen(
        [*command, *options, f"--workdir={workdir}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():  # one per epoch
            if line.startswith("epoch"):
                sizes.append(resident_mib(process.pid))
                print(f"epoch {len(sizes)}: {sizes[-1]:.0f} MiB", flush=True)
    if process.returncode:
        raise RuntimeError(f"Training failed with exit code {process.returncode}")
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--skip", type=int, default=10, help="epochs before the fit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as workdir:
        sizes = np.array(train(args.epochs, workdir)[args.skip :])
    slope = np.polyfit(np.arange(len(sizes)), sizes, 1)[0]
    print(
        f"growth after epoch {args.skip}: {slope:+.2f} MiB per epoch; "
        f"from {sizes[0]:.0f} to {sizes[-1]:.0f} MiB"
    )


if __name__ == "__main__":
    main()
