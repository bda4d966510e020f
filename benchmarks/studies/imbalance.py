"""Compares the remedies for imbalanced classes on a long-tailed Fashion-MNIST.

python -m benchmarks.studies.imbalance [--ratio=100] [--images=5400] [--epochs=4]
    [--seeds=3] [--methods=plain,logit_adjustment] [--data=idx:DIR]

The numbers of training images fall exponentially from `--images` of the first class to
that divided by `--ratio` of the last; validation and test images stay balanced, so that
their top-1 accuracy is the balanced accuracy. The epoch is chosen on 100 validation
images of each class. Every method trains the network of the recipe "digits" for the
same number of steps, with the same images for a seed. The exit code is 1 unless the
best method is at least 3 points better than plain training, by the mean over the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

import numpy as np

from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.common.cli.exit_codes import ExitCode
from keras_efficientnet.common.markdown import table
from training import config
from training.data import sources

from .small_runs import train_top1

BAR = 0.03  # least gain of the best method over plain training, balanced accuracy
VALIDATION_IMAGES = 100  # per class
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampling_sqrt": {"sampling": "sqrt"},
    "sampling_balanced": {"sampling": "balanced"},
    "weights_effective_number": {"class_weights": "effective_number"},
    "weights_balanced": {"class_weights": "balanced"},
    "focal": {"loss": "focal"},
    "logit_adjustment": {"logit_adjustment": 1.0},
}


def long_tailed(
    source: sources.Source, most: int, ratio: float, seed: int
) -> sources.Source:
    """Returns a source with exponentially falling numbers of training images.

    Args:
        source: Source with about equally many training images of each class.
        most: Number of training images of the first class.
        ratio: Ratio of the first class's number to that of the last.
        seed: Seed of the choice of images.
    """
    train = source.split("train")
    classes = len(source.class_names)
    kept = []
    for label in range(classes):
        found = np.flatnonzero(train.labels == label)
        count = max(1, round(most * ratio ** (-label / (classes - 1))))
        if count > len(found):
            raise ValueError(
                f"`images` must be at most {len(found)}, the number of images of a "
                f"class. Received: images={most}"
            )
        order = np.random.default_rng([seed, label]).permutation(len(found))
        kept.append(found[order[:count]])
    validation = source.split("validation")
    firsts = [
        np.flatnonzero(validation.labels == label)[:VALIDATION_IMAGES]
        for label in range(classes)
    ]
    splits = {
        **source.splits,
        "train": train.take(np.sort(np.concatenate(kept))),
        "validation": validation.take(np.sort(np.concatenate(firsts))),
    }
    return dataclasses.replace(source, splits=splits)


def balanced_accuracy(
    method: str, source: sources.Source, epochs: float, seed: int
) -> float:
    """Trains by a method and returns its top-1 accuracy on the balanced test images.

    Args:
        method: Key of `METHODS`.
        source: Result of `long_tailed`.
        epochs: Number of epochs.
        seed: Seed of the run.
    """
    run = dataclasses.replace(
        config.load("digits"),
        epochs=epochs,
        warmup_epochs=epochs / 10,
        seed=seed,
        **METHODS[method],
    )
    return train_top1(run, source)


def describe(found: dict[str, list[float]]) -> str:
    """Returns a Markdown table of the balanced accuracies.

    Args:
        found: Method -> balanced accuracy by seed.
    """
    rows = [
        {
            "method": method,
            "balanced accuracy": f"{np.mean(top1):.2%}",
            "by seed": ", ".join(f"{value:.2%}" for value in top1),
        }
        for method, top1 in found.items()
    ]
    return table(rows)


def best_gain(found: dict[str, list[float]]) -> float:
    """Returns the gain of the best method over plain training, a ratio.

    Args:
        found: Method -> balanced accuracy by seed, with "plain".
    """
    means = {method: float(np.mean(top1)) for method, top1 in found.items()}
    plain = means.pop("plain")
    return max(means.values(), default=plain) - plain


def main() -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--ratio", type=float, default=100.0)
    parser.add_argument("--images", type=int, default=5400)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    methods = list(dict.fromkeys(["plain", *options.methods.split(",")]))
    for method in methods:
        check_choice("methods", method, METHODS)
    source = sources.load(options.data)
    found: dict[str, list[float]] = {method: [] for method in methods}
    for seed in range(options.seeds):
        tail = long_tailed(source, options.images, options.ratio, seed)
        for method in methods:
            top1 = balanced_accuracy(method, tail, options.epochs, seed)
            found[method].append(top1)
            print(f"seed {seed}  {method:26} {top1:.2%}", flush=True)
    print(describe(found))
    return ExitCode.SUCCESS if best_gain(found) >= BAR else ExitCode.FAILURE


if __name__ == "__main__":
    sys.exit(main())
