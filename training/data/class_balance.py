"""Class weights and class priors for imbalanced data."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.common.files import open_regular
from keras_efficientnet.common.image_folders import shorten

BALANCED, EFFECTIVE_NUMBER = "balanced", "effective_number"
BETA = 0.999  # of "effective_number" without one; the paper tries 0.9 to 0.9999
# Sampling -> exponent of a class's share of the images that gives its share of draws.
SAMPLING_POWERS = {"balanced": 0.0, "sqrt": 0.5}


def check_class_weights(text: str) -> None:
    """Checks a `class_weights` field as far as the classes need not be known.

    Args:
        text: "balanced", "effective_number[:BETA]", the path of a JSON file, or JSON.

    Raises:
        ValueError: It is none of these.
    """
    name, _, beta = text.partition(":")
    if name == EFFECTIVE_NUMBER:
        _beta(beta)
    elif text != BALANCED:
        _read_table(text)


def self_contained(text: str) -> str:
    """Returns a `class_weights` field with the weights in place of a file's path.

    Args:
        text: As for `check_class_weights`.
    """
    if text.partition(":")[0] in (BALANCED, EFFECTIVE_NUMBER):
        return text
    return json.dumps(_read_table(text))


def class_weights(
    text: str, counts: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Returns the weight of each class in the loss.

    Those that are computed from the images have a mean of 1 over the images.

    Args:
        text: As for `check_class_weights`.
        counts: Number of training images of each class, (classes,), above 0.
        class_names: Names of the classes.

    Returns:
        (classes,), float64.

    Raises:
        ValueError: The weights are for other classes.

    Source:
        arXiv:1901.05555, equation 2 ("effective_number").

    Example:
        >>> class_weights("balanced", np.array([6, 2]), ["cat", "dog"])
        array([0.66666667, 2.        ])
    """
    name, _, beta = text.partition(":")
    if text == BALANCED:
        weights = 1 / counts
    elif name == EFFECTIVE_NUMBER:
        weights = (1 - _beta(beta)) / (1 - _beta(beta) ** counts)
    else:
        table = _read_table(text)
        _check_names(table, class_names)
        return np.array([table[name] for name in class_names], np.float64)
    return weights * counts.sum() / (weights * counts).sum()


def positive_weights(
    text: str, positives: np.ndarray, images: int, class_names: Sequence[str]
) -> np.ndarray:
    """Returns the weight of each label in the loss of the images that have it.

    "balanced" is the ratio of the images without the label to those with it, so that
    both count alike; "effective_number" takes the ratio of the effective numbers.

    Args:
        text: As for `check_class_weights`.
        positives: Number of training images with each label, (classes,), above 0.
        images: Number of training images.
        class_names: Names of the classes.

    Returns:
        (classes,), float64.

    Raises:
        ValueError: The weights are for other classes.

    Example:
        >>> positive_weights("balanced", np.array([25, 50]), 100, ["cat", "dog"])
        array([3., 1.])
    """
    name, _, beta = text.partition(":")
    negatives = np.maximum(images - positives, 1)
    if text == BALANCED:
        return negatives / positives
    if name == EFFECTIVE_NUMBER:
        kept = _beta(beta)
        return (1 - kept**negatives) / (1 - kept**positives)
    return class_weights(text, positives, class_names)


def draws_per_epoch(
    labels: np.ndarray, class_names: Sequence[str], sampling: str | None
) -> np.ndarray:
    """Returns the expected number of images of each class that an epoch draws.

    Args:
        labels: Class index of each training image, (images,).
        class_names: Names of the classes.
        sampling: Key of `SAMPLING_POWERS`, or None: each image once.

    Returns:
        (classes,), float64; they add up to the number of images.

    Raises:
        ValueError: A class has no image.
    """
    counts = np.bincount(labels, minlength=len(class_names)).astype(np.float64)
    if not counts.all():
        missing = [n for n, count in zip(class_names, counts, strict=True) if not count]
        raise ValueError(
            "Each class must have training images for class weights, sampling or logit "
            f"adjustment. Received: none of {shorten(missing)}"
        )
    drawn: np.ndarray = counts ** (SAMPLING_POWERS[sampling] if sampling else 1.0)
    return drawn * (counts.sum() / drawn.sum())


def check(
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    weights: str | None,
    sampling: str | None,
    adjustment: float,
) -> None:
    """Checks the class weights, sampling and logit adjustment of a run.

    Args:
        labels: Class index of each training image, (images,).
        class_names: Names of the classes.
        weights: As for `check_class_weights`; None: no class weights.
        sampling: Key of `SAMPLING_POWERS`, or None.
        adjustment: Strength of the logit adjustment; 0: none.

    Raises:
        ValueError: A class has no image, or the weights are for other classes.
    """
    if not (weights or sampling or adjustment):
        return
    counts = draws_per_epoch(labels, class_names, sampling)
    if weights:
        class_weights(weights, counts, class_names)


def _beta(text: str) -> float:
    try:
        beta = float(text) if text else BETA
    except ValueError:
        beta = math.nan
    if not 0 <= beta < 1:
        raise ValueError(
            f"`class_weights` must have a beta of at least 0 and under 1 as in "
            f"'{EFFECTIVE_NUMBER}:{BETA}'. Received: beta={text!r}"
        )
    return beta


def _read_table(text: str) -> dict[str, float]:
    """Reads the weights by class name from JSON text or from a JSON file."""
    content = text
    try:
        if not text.lstrip().startswith("{"):
            with open_regular(pathlib.Path(text).expanduser()) as stream:
                content = stream.read().decode("utf-8")
        table = json.loads(content)
    except (OSError, ValueError) as error:
        names = (BALANCED, EFFECTIVE_NUMBER)
        raise ValueError(
            f"`class_weights` must be {names[0]!r}, {names[1]!r} or a JSON file such "
            f'as {{"cat": 1, "dog": 2.5}}.{did_you_mean(text, names)} '
            f"Received: class_weights={text!r} ({error})"
        ) from error
    ok = isinstance(table, dict) and all(map(_is_weight, table.values()))
    if not ok or not any(table.values()):
        raise ValueError(
            "`class_weights` must map each class to a number of at least 0, at least "
            f"one of them above 0. Received: class_weights={content!r}"
        )
    return {name: float(weight) for name, weight in table.items()}


def _is_weight(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf


def _check_names(table: dict[str, float], class_names: Sequence[str]) -> None:
    missing = [name for name in class_names if name not in table]
    unknown = [name for name in table if name not in class_names]
    if missing or unknown:
        faults = [
            f"{fault} {shorten(names)}"
            for fault, names in (("no weight of", missing), ("unknown", unknown))
            if names
        ]
        raise ValueError(
            f"`class_weights` must have a weight for each of the {len(class_names)} "
            f"classes. Received: {len(table)} weights, {'; '.join(faults)}"
        )
