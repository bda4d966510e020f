"""The page of a study, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..files import write_text
from .folder import StudyFolder


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a Markdown table.

    Args:
        rows: Column name -> cell, the same columns in all. Columns of numbers are
            set flush right.
    """
    columns = list(rows[0])
    numeric = [all(_is_numeric(row[name]) for row in rows) for name in columns]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [columns, rule, *([str(cell) for cell in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(
    folder: StudyFolder, title: str, blocks: Sequence[str], files: Mapping[str, str]
) -> None:
    """Writes report.md.

    Args:
        folder: Of the study.
        title: Of the page.
        blocks: Paragraphs, tables and pictures, in Markdown.
        files: File of the folder -> what is in it; linked at the end.
    """
    known = dict(files) | {folder.settings.name: "what was asked for"}
    linked = [f"- [{name}]({name}): {what}" for name, what in known.items()]
    text = "\n\n".join([f"# {title}", *blocks, "## Files", "\n".join(linked)])
    write_text(folder.report, text + "\n")


def picture(name: str, about: str) -> str:
    """Returns a picture of the folder in Markdown."""
    return f"![{about}]({name})"


def _is_numeric(cell: Any) -> bool:
    if isinstance(cell, int | float):
        return True
    return str(cell)[:1] in "0123456789+-" and str(cell)[:1] != ""
