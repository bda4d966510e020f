"""Compares progressive learning with a constant image size on Fashion-MNIST.

python -m benchmarks.studies.progressive [--images=6000] [--epochs=8] [--seeds=3]
    [--methods=constant,paper,automl,sizes_only] [--data=idx:DIR]

Every method trains the same small network, with the stages of EfficientNetV2, for the
same number of steps, and ends at 32 pixels and at the same MixUp and dropout. The table
has the seconds of training, with compilation and validation, the seconds of all
processor cores, which depend less on other processes, and top-1 on the test images.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import Any

import numpy as np

from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.cli.exit_codes import ExitCode
from keras_efficientnet.common.markdown import table
from keras_efficientnet.stages import Stage, format_stages
from training.config import TrainConfig
from training.data import sources

from . import small_runs

VALIDATION_IMAGES = 2000
# Three halvings in all, so that images may be as small as 8 pixels.
STAGES = (
    Stage(1, 3, 1, 1, 16, se_ratio=0.0, kind="fused"),
    Stage(2, 3, 2, 4, 32, se_ratio=0.0, kind="fused"),
    Stage(2, 3, 2, 4, 64),
)
BASE = TrainConfig(
    model="EfficientNet",
    family="v2",
    stages=format_stages(STAGES),
    stem_filters=16,
    head_filters=256,
    image_size=32,
    crop_ratio=1.0,
    interpolation="bilinear",
    batch_size=64,
    lr_per_256=0.016,
    schedule="cosine",
    label_smoothing=0.1,
    # Slower averages would not catch up in a thousand steps.
    ema_decay=0.98,
    augment="crop_flip",
    mixup_alpha=0.2,
    dropout=0.3,
    drop_connect=0.0,
    progressive_stages=4,
    progressive_start_size=16,
)
METHODS: dict[str, dict[str, Any]] = {
    "constant": {},
    "sizes_only": {"progressive_sizes": "16,21,26,32"},
    "automl": {"progressive_schedule": "automl"},
    "paper": {"progressive_schedule": "paper"},
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of one run.

    Attributes:
        seconds: Seconds of training, with compilation and validation.
        cpu_seconds: Seconds of all processor cores for the entire run.
        top1: Top-1 accuracy on the test images, a ratio.
    """

    seconds: float
    cpu_seconds: float
    top1: float


def part_of(source: sources.Source, images: int, seed: int) -> sources.Source:
    """Returns a source with a random part of the training images.

    Args:
        source: Source with validation images.
        images: Number of training images.
        seed: Seed of the choice.
    """
    train, validation = source.split("train"), source.split("validation")
    if images > len(train):
        raise ValueError(
            f"`images` must be at most {len(train)}, the number of training images. "
            f"Received: images={images}"
        )
    chosen = np.random.default_rng(seed).permutation(len(train))[:images]
    few = min(VALIDATION_IMAGES, len(validation))
    splits = {
        **source.splits,
        "train": train.take(np.sort(chosen)),
        "validation": validation.take(np.arange(few)),
    }
    return dataclasses.replace(source, splits=splits)


def run_config(method: str, epochs: float, seed: int) -> TrainConfig:
    """Returns the configuration of a run.

    Args:
        method: Key of `METHODS`.
        epochs: Number of epochs.
        seed: Seed of the run.
    """
    return dataclasses.replace(
        BASE, epochs=epochs, warmup_epochs=epochs / 10, seed=seed, **METHODS[method]
    )


def train(method: str, source: sources.Source, epochs: float, seed: int) -> Result:
    """Trains by a method.

    Args:
        method: Key of `METHODS`.
        source: Result of `part_of`.
        epochs: Number of epochs.
        seed: Seed of the run.
    """
    config = run_config(method, epochs, seed)
    started = time.process_time()
    summary = small_runs.train(config, source)
    spent = time.process_time() - started
    return Result(summary["seconds"], spent, summary["final_top1"])


def describe(found: dict[str, list[Result]]) -> str:
    """Returns a Markdown table of the results.

    Args:
        found: Method -> results by seed; the first method is compared with.
    """
    first = next(iter(found.values()))
    base = np.mean([result.cpu_seconds for result in first])
    rows = []
    for method, results in found.items():
        spent = np.mean([result.cpu_seconds for result in results])
        row = {
            "method": method,
            "seconds": f"{np.mean([result.seconds for result in results]):.0f}",
            "CPU seconds": f"{spent:.0f}",
            "ratio": f"{spent / base:.2f}",
            "top-1": f"{np.mean([result.top1 for result in results]):.2%}",
            "by seed": ", ".join(f"{result.top1:.2%}" for result in results),
        }
        rows.append(row)
    return table(rows)


def main() -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--images", type=int, default=6_000)
    parser.add_argument("--epochs", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="constant,paper")
    options = parser.parse_args()
    methods = list(dict.fromkeys(options.methods.split(",")))
    for method in methods:
        check_choice("methods", method, METHODS)
    source = sources.load(options.data)
    found: dict[str, list[Result]] = {method: [] for method in methods}
    for seed in range(options.seeds):
        part = part_of(source, options.images, seed)
        # What the first run of a process sets up is not always the same method's.
        for method in methods[::-1] if seed % 2 else methods:
            result = train(method, part, options.epochs, seed)
            found[method].append(result)
            print(
                f"seed {seed}  {method:10}  {result.seconds:.0f} s  "
                f"{result.cpu_seconds:.0f} CPU s  {result.top1:.2%}",
                flush=True,
            )
    print(describe(found))
    return ExitCode.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
