"""Markdown tables and escaping of untrusted text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .plain_text import printable

_SPECIAL = re.compile(r"([\\`*\[\]<>|])")
_BARE_PIPE = re.compile(r"(?<!\\)\|")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Formats rows as a Markdown table.

    Args:
        rows: Dicts of column name to cell, with the same columns in each row; at least
            one. Cells are Markdown; use `escape` for untrusted text. Numeric columns
            are right-aligned.
    """
    columns = list(rows[0])
    lines = [columns, *([str(cell) for cell in row.values()] for row in rows)]
    numeric = [all(map(_is_numeric, cells)) for cells in zip(*lines[1:], strict=True)]
    rule = ["---:" if right else "---" for right in numeric]
    cells = [[_BARE_PIPE.sub(r"\\|", printable(cell)) for cell in row] for row in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in [cells[0], rule, *cells[1:]])


def escape(text: object) -> str:
    r"""Escapes untrusted text, such as a file name, for use in Markdown.

    Example:
        >>> print(escape("<b>|"))
        \<b\>\|
    """
    return _SPECIAL.sub(r"\\\1", printable(str(text)))


def code(text: object) -> str:
    """Formats untrusted text as a Markdown code span.

    Example:
        >>> print(code("a`b"))
        `` a`b ``
    """
    shown = printable(str(text))
    if "`" not in shown:
        return f"`{shown}`"
    longest = max(map(len, re.findall("`+", shown)))
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}"


def _is_numeric(cell: str) -> bool:
    return cell[:1] in set("0123456789+-")
