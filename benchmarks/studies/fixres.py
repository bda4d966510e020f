"""Compares training with and without FixRes epochs on Fashion-MNIST.

python -m benchmarks.studies.fixres [--seeds=3] [--data=idx:DIR]

A small network is trained on random crops of 24 pixels and evaluated at 32 pixels. By
both methods it sees 3,000 images for 5 epochs, the last of which may be a FixRes epoch.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from keras_efficientnet.common.cli.exit_codes import ExitCode
from keras_efficientnet.stages import Stage, format_stages
from training.data import sources

from .small_runs import accuracy_table, small_config, subset, train_top1

IMAGES = {"train": 3_000, "validation": 500, "test": 5_000}
EPOCHS = 5
# Three halvings in all: the last feature map has 3 x 3 or 4 x 4 pixels.
STAGES = (Stage(1, 3, 1, 1, 16), Stage(1, 3, 2, 4, 24), Stage(1, 3, 2, 4, 40))
BASE: dict[str, Any] = {
    "stages": format_stages(STAGES),
    "width": 1.0,
    "depth": 1.0,
    "augment": "crop_flip",
    "progressive_sizes": "24",
    "image_size": 32,
}
METHODS: dict[str, dict[str, Any]] = {
    "without FixRes": {},
    "last epoch by FixRes": {"fixres_epochs": 1},
}


def main() -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    source = subset(sources.load(options.data), IMAGES)
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(options.seeds):
        for method, fields in METHODS.items():
            run = small_config(EPOCHS, seed, **BASE, **fields)
            found[method].append(train_top1(run, source))
            print(f"seed {seed}  {method:36} {found[method][-1]:.2%}", flush=True)
    print(accuracy_table(found))
    return ExitCode.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
