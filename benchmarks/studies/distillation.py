"""Compares training with and without a teacher on Fashion-MNIST.

python -m benchmarks.studies.distillation [--seeds=3] [--data=idx:DIR]

The teacher is the network of the recipe "digits", trained on 8,000 images. The
students have a third of its channels and are trained on 2,000 of these images, for the
same number of steps by every method. They differ in `teacher_weight` and
`teacher_temperature` only.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import Any

from keras_efficientnet.common.cli.exit_codes import ExitCode
from training.data import sources

from .small_runs import accuracy_table, small_config, subset, train_top1

TEACHER_IMAGES, TEACHER_EPOCHS = 8_000, 3
STUDENT_IMAGES, STUDENT_EPOCHS = 2_000, 4
OTHER_IMAGES = {"validation": 500, "test": 5_000}
METHODS: dict[str, dict[str, Any]] = {
    "labels only": {},
    "teacher, weight 0.5, temperature 2": {},
    "teacher, weight 0.9, temperature 4": {
        "teacher_weight": 0.9,
        "teacher_temperature": 4.0,
    },
}


def main() -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    source = subset(sources.load(options.data), OTHER_IMAGES)
    many = subset(source, {"train": TEACHER_IMAGES})
    few = subset(source, {"train": STUDENT_IMAGES})
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        teacher = pathlib.Path(folder) / "teacher"
        run = small_config(TEACHER_EPOCHS, 0, width=0.75, export_samples=0)
        print(f"teacher  {train_top1(run, many, teacher):.2%}", flush=True)
        for seed in range(options.seeds):
            for method, fields in METHODS.items():
                name = str(teacher) if method != "labels only" else None
                run = small_config(STUDENT_EPOCHS, seed, teacher=name, **fields)
                found[method].append(train_top1(run, few))
                print(f"seed {seed}  {method:36} {found[method][-1]:.2%}", flush=True)
    print(accuracy_table(found))
    return ExitCode.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
