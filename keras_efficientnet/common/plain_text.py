"""Escaping of labels and file names for terminals and spreadsheets."""

from __future__ import annotations

import os
import re
import unicodedata

# Characters that begin a formula in a spreadsheet.
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
_JOINERS = "\u200c\u200d"  # needed by several scripts and by emoji


def printable(text: str | os.PathLike[str]) -> str:
    r"""Escapes the control characters of a text or path, so that it fits on one line.

    Terminals interpret escape sequences, a line break could start a Markdown heading,
    and bytes of a file name that are not UTF-8 cannot be printed.

    Example:
        >>> print(printable("cat\x1b[2J"))
        cat\x1b[2J
    """
    text = os.fspath(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def tf_reason(error: BaseException) -> str:
    """Returns the message of a TensorFlow error on one line, without graph node names.

    Example:
        >>> tf_reason(OSError("{{function_node f}} /a; No such file [Op:ReadFile]"))
        '/a; No such file'
    """
    text = _PARTS_OF_GRAPHS.sub("", str(getattr(error, "message", error)))
    lines = [_ROOT_ERROR.sub("", line) for line in text.splitlines()]
    # Indented lines belong to tracebacks, of which an error may contain several.
    messages = [x for x in lines if x[:1].strip() and not x.startswith(_TRACES)]
    return printable(messages[0].strip()) if messages else type(error).__name__


def literal(text: str) -> str:
    r"""Returns a text that Matplotlib draws character by character.

    Between two dollar signs it would set a formula, in which `^` and `_` raise and
    lower what follows.

    Example:
        >>> print(literal("$5_bill, $10"))
        \$5_bill, \$10
    """
    return text.replace("$", r"\$")


def csv_cell(text: str) -> str:
    """Escapes a text that a spreadsheet would interpret as a formula.

    Numbers are kept; other texts that begin like a formula are prefixed with an
    apostrophe.

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
    """Reverses `csv_cell`."""
    inner = text.removeprefix("'")
    return inner if csv_cell(inner) == text else text


def _shown(character: str) -> str:
    is_space = unicodedata.category(character) == "Zs"
    if character.isprintable() or is_space or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")
