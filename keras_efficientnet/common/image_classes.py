"""Image classes: matching to a model's classes, and balanced sampling."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..preprocessing import imagenet_classes
from .choices import did_you_mean
from .image_folders import shorten


def match_classes(
    data_names: Sequence[str], model_names: Sequence[str] | None, outputs: int
) -> np.ndarray:
    """Maps the classes of a data set to the classes of a model.

    Classes are matched by name: the data may have fewer classes than the model, in any
    order. Case, underscores and Unicode normalisation are ignored, and ImageNet classes
    are known by both WordNet id and English name. If no name matches and the data's
    names are the numbers 0, 1, 2, ... or 1, 2, 3, ... for all classes, they are used as
    indices; if the model's class names are unknown, classes are matched in order.

    Args:
        data_names: Classes of the data, in index order.
        model_names: Classes of the model, in index order, or None if unknown.
        outputs: Number of classes of the model.

    Returns:
        Index of the model's class for each class of the data, (data classes,), int32.

    Raises:
        ValueError: A class is not one of the model's or is ambiguous, or classes are
            matched in order and their numbers differ.
    """
    exact = _unique((name, i) for i, name in enumerate(model_names or ()))
    other = _unique(_other_names(model_names or ()))
    found = [exact.get(name, other.get(_plain(name))) for name in data_names]
    if None not in found:
        return np.array(found, np.int32)
    is_numbered = all(name.isascii() and name.isdigit() for name in data_names)
    if any(place is not None for place in found) or not (
        is_numbered or model_names is None
    ):
        missing = [n for n, p in zip(data_names, found, strict=True) if p is None]
        raise ValueError(
            f"The classes of the data must be among the model's {outputs}, by name "
            "(those in its labels.txt or in --labels=FILE). "
            "Received missing or ambiguous classes: "
            f"{shorten(missing)}.{did_you_mean(missing[0], model_names or ())}"
        )
    return _by_order(data_names, outputs, is_numbered, model_names is not None)


def choose_balanced(labels: np.ndarray, count: int) -> list[int]:
    """Chooses images with nearly equal numbers per class.

    Takes one image of each class in turn, in a fixed random order within the class, so
    that any prefix of the result is balanced as well.

    Args:
        labels: Class of each image, (images,), integers.
        count: Number of images to choose; if there are fewer, all are chosen.

    Returns:
        Indices of the chosen images, in the order in which they were chosen.

    Raises:
        ValueError: `count` is negative.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 2])
        >>> labels[choose_balanced(labels, 4)].tolist()
        [0, 1, 2, 0]
    """
    if count < 0:
        raise ValueError(f"`count` must be at least 0. Received: count={count}")
    labels = np.asarray(labels)
    # RandomState gives the same numbers in every version of NumPy.
    shuffled = np.random.RandomState(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    is_first = np.diff(labels[by_class], prepend=np.nan) != 0
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(labels)), 0))
    rounds = np.arange(len(labels)) - starts  # position of each image within its class
    return by_class[np.argsort(rounds, kind="stable")][:count].tolist()


def readable_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Replaces WordNet ids by English names and keeps all other names.

    Args:
        class_names: Names of classes.
    """
    english = dict(imagenet_classes())
    return tuple(english.get(name, name) for name in class_names)


def find_similar_names(class_names: Sequence[str]) -> list[tuple[str, ...]]:
    """Finds classes whose names differ only in spelling.

    Args:
        class_names: Names of classes.

    Returns:
        Groups of names that are equal but for case, underscores, leading zeros and
        Unicode normalisation.

    Example:
        >>> find_similar_names(["cat", "Cat", "dog"])
        [('cat', 'Cat')]
    """
    groups: dict[str, list[str]] = {}
    for name in class_names:
        groups.setdefault(_plain(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _by_order(
    data_names: Sequence[str], outputs: int, is_numbered: bool, is_known: bool
) -> np.ndarray:
    if len(data_names) != outputs:
        raise ValueError(
            "The classes of the data must be among the model's by name (those in its "
            "labels.txt or in --labels=FILE), or both have the same number of classes. "
            f"Received: {outputs} and {len(data_names)}"
        )
    if is_numbered:
        numbers = np.array([int(name) for name in data_names])
        places = numbers - numbers.min()
        if numbers.min() in (0, 1) and set(places) == set(range(outputs)):
            return places.astype(np.int32)
        if is_known:
            raise ValueError(
                "Classes that are numbers must be consecutive, from 0 or from 1. "
                f"Received: {shorten(data_names)}"
            )
    warnings.warn(
        "The model's class names are unknown; the data's classes are matched in "
        f"order: {shorten(data_names)}",
        stacklevel=3,
    )
    return np.arange(outputs, dtype=np.int32)


def _unique(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns name -> index, without names that belong to several indices."""
    places: dict[str, set[int]] = {}
    for name, index in names:
        places.setdefault(name, set()).add(index)
    return {name: min(found) for name, found in places.items() if len(found) == 1}


def _other_names(model_names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yields normalised spellings, English names and WordNet ids of the classes."""
    english, imagenet = readable_names(model_names), imagenet_classes()
    is_imagenet = list(english) == [name for _, name in imagenet]
    for index, name in enumerate(model_names):
        yield _plain(name), index
        yield _plain(english[index]), index
        if is_imagenet:
            yield imagenet[index][0], index


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFC", name).casefold().replace("_", " ").strip()
    return str(int(text)) if re.fullmatch("[0-9]+", text) else text
