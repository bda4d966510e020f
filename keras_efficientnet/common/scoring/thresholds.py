"""Thresholds of multi-label models: an image has all labels that reach theirs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from ..choices import did_you_mean
from ..output_activation import SIGMOID
from .multi_label import thresholds_of

# Help text of the flag `thresholds`.
THRESHOLDS_HELP = (
    "Thresholds of a multi-label model: one for all labels, such as 0.5, or for some, "
    "as in cat=0.3,dog=0.7. Default: the model's."
)


def check_thresholds(thresholds: Any, classes: int | None = None) -> tuple[float, ...]:
    """Checks the thresholds of a multi-label model.

    Args:
        thresholds: List of numbers.
        classes: Number of classes. None: unknown.

    Returns:
        The thresholds as floats.

    Raises:
        ValueError: A threshold is not a number from 0 to 1, or their number is wrong.
    """
    ok = isinstance(thresholds, list | tuple) and all(map(_is_ratio, thresholds))
    if not ok:
        raise ValueError(
            "`thresholds` must be a list of numbers from 0 to 1, one per class. "
            f"Received: thresholds={thresholds!r}"
        )
    if classes is not None and len(thresholds) != classes:
        raise ValueError(
            f"`thresholds` must have one number for each of the {classes} classes. "
            f"Received: {len(thresholds)} thresholds"
        )
    return tuple(float(value) for value in thresholds)


def resolve_thresholds(
    found: tuple[float, ...] | None, classes: int, activation: str, name: str
) -> tuple[float, ...] | None:
    """Checks the thresholds of a multi-label model.

    Args:
        found: Thresholds stored with the model; None without any.
        classes: Number of the model's classes.
        activation: Activation of the outputs; see `output_activation`.
        name: Name of the model, for error messages.

    Returns:
        The thresholds.

    Raises:
        ValueError: The model does not end in sigmoids, or has another number of
            classes.
    """
    if found is None:
        return None
    if activation != SIGMOID:
        raise ValueError(
            "A model with thresholds must end in sigmoids, one per class. "
            f"Received: {name}, which ends in {activation}"
        )
    try:
        return check_thresholds(found, classes)
    except ValueError as error:
        raise ValueError(f"{error}, {name}") from error


def replace_thresholds(
    given: str,
    class_names: Sequence[str] | None,
    found: Sequence[float] | None,
    classes: int,
    activation: str,
) -> tuple[float, ...]:
    """Replaces thresholds of a multi-label model by those passed by the user.

    Args:
        given: Thresholds; see `parse_thresholds`.
        class_names: Names of the classes; None if unknown.
        found: Thresholds of the model; None without any.
        classes: Number of the model's classes.
        activation: Activation of the outputs; see `output_activation`.

    Raises:
        ValueError: The model does not end in sigmoids, or a threshold is not usable.
    """
    if activation != SIGMOID:
        raise ValueError(
            "`thresholds` needs a model that ends in sigmoids, one per class. "
            f"Received: thresholds={given!r}, a model that ends in {activation}"
        )
    names = class_names or tuple(f"class {i}" for i in range(classes))
    return parse_thresholds(given, names, thresholds_of(found, classes).tolist())


def parse_thresholds(
    text: str, class_names: Sequence[str], found: Sequence[float]
) -> tuple[float, ...]:
    """Parses thresholds that replace those of a multi-label model.

    Args:
        text: A threshold for all labels, as in "0.5"; or thresholds by label, as in
            "cat=0.3,dog=0.7".
        class_names: Names of the classes.
        found: Threshold of each class of the model, which unnamed labels keep.

    Raises:
        ValueError: A threshold is not a number from 0 to 1, or a label is unknown or
            repeated.

    Example:
        >>> parse_thresholds("dog=0.7", ["cat", "dog"], [0.5, 0.5])
        (0.5, 0.7)
    """
    if "=" not in text:
        return (_parse_ratio(text, text),) * len(class_names)
    named: dict[str, float] = {}
    # Names may contain commas and equals signs.
    pairs = re.findall(r"(.*?)=([^,=]*)(?:,|$)|(.+)$", text, re.DOTALL)
    for name, value, rest in pairs:
        name = (name or rest).strip()
        if name not in class_names or name in named:
            raise ValueError(
                "`thresholds` must name labels of the model, each once."
                f"{did_you_mean(name, set(class_names) - named.keys())} "
                f"Received: label {name!r} in thresholds={text!r}"
            )
        named[name] = _parse_ratio(value, text)
    each = zip(class_names, found, strict=True)
    return tuple(named.get(name, value) for name, value in each)


def _parse_ratio(value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not _is_ratio(number):
        raise ValueError(
            "`thresholds` must be a number from 0 to 1, or a number for some labels, "
            f"as in 'cat=0.3,dog=0.7'. Received: {value!r} in thresholds={text!r}"
        )
    return number


def _is_ratio(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= 1
