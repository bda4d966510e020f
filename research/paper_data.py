"""The paper's tables, read from the CSV files in `paper/`."""

from __future__ import annotations

import csv
import importlib.resources


def read(name: str) -> list[dict[str, str]]:
    """Reads a table of the paper.

    Args:
        name: Name of the file in `paper/`, without its suffix.

    Returns:
        Rows: column name -> text, empty if the paper states no value.
    """
    file = importlib.resources.files(__package__) / "paper" / f"{name}.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
