"""Validation of arguments."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any


def did_you_mean(name: str, choices: Iterable[str], most: int = 1) -> str:
    """Returns " Did you mean 'x'?" for the closest choices, or "".

    Args:
        name: Unknown name.
        choices: Known names.
        most: Maximum number of suggestions.
    """
    near = difflib.get_close_matches(str(name), list(choices), most)
    if not near:
        return ""
    *others, last = map(repr, near)
    return f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Checks that an argument is one of a few values.

    Args:
        name: Name of the argument.
        value: Received value.
        choices: Allowed values.

    Raises:
        ValueError: The value is not allowed; the message suggests the closest choice.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        near = did_you_mean(value, [c for c in choices if isinstance(c, str)])
        raise ValueError(
            f"`{name}` must be one of {listed}.{near} Received: {name}={value!r}"
        )


def check_count(name: str, value: Any, least: int = 1, unit: str = "") -> int:
    """Checks that an argument is an integer, of Python or NumPy.

    Args:
        name: Name of the argument.
        value: Received value.
        least: Smallest allowed value.
        unit: Text after the smallest value in the message, such as " pixels".

    Returns:
        The value as a Python `int`, so that it can be stored in JSON.

    Raises:
        ValueError: The value is not an integer, or is less than `least`.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}{unit}. "
            f"Received: {name}={value!r}"
        )
    return count
