"""Labels and file names made safe to print and to open in a spreadsheet."""

from __future__ import annotations

import os
import re
import unicodedata

# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PARTS_OF_GRAPHS = re.compile(
    r"\{\{[^}]*\}\} ?|\[\[.*?\]\]| \[Op:[^\]]*\](?: name: ?\S*)?"
    r"|Error in user-defined function passed to \S+ transformation with iterator: "
    r"[\w:\[\]]+: | <_io\.BytesIO object at \w+>"
)
_ROOT_ERROR = re.compile(r"^ +\(0\) [A-Z_]+: +")
_TRACES = (
    "Graph execution error",
    "Detected at node",
    "Traceback (most recent call last)",
    "Stack trace for op definition",
    "2 root error(s) found",
)
_JOINERS = "\u200c\u200d"  # which several scripts and emoji need


def printable(text: str | os.PathLike[str]) -> str:
    r"""Returns a text or path on one line, its control characters written as escapes.

    Terminals obey escape sequences, a line break could begin a heading, and bytes of a
    file name that are not UTF-8 cannot be printed.

    Example:
        >>> print(printable("cat\x1b[2J"))
        cat\x1b[2J
    """
    text = os.fspath(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def tf_reason(error: BaseException) -> str:
    """Returns what a TensorFlow error says, on one line and without its graph's names.

    Example:
        >>> tf_reason(OSError("{{function_node f}} /a; No such file [Op:ReadFile]"))
        '/a; No such file'
    """
    text = _PARTS_OF_GRAPHS.sub("", str(getattr(error, "message", error)))
    lines = [_ROOT_ERROR.sub("", line) for line in text.splitlines()]
    # Indented lines belong to traces, of which an error may have several.
    told = [x for x in lines if x[:1].strip() and not x.startswith(_TRACES)]
    return printable(told[0].strip()) if told else type(error).__name__


def csv_cell(text: str) -> str:
    """Returns a text that no spreadsheet takes for a formula.

    Numbers stay as they are; other texts that begin like a formula get an apostrophe
    in front.

    Example:
        >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell("cat")
        ("'=1+1", '-0.5', 'cat')
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def from_csv_cell(text: str) -> str:
    """Returns the text that `csv_cell` was given."""
    inner = text.removeprefix("'")
    return inner if csv_cell(inner) == text else text


def _shown(character: str) -> str:
    is_space = unicodedata.category(character) == "Zs"
    if character.isprintable() or is_space or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
