"""Rows of predictions and their files, Parquet or JSON lines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require_package


@dataclasses.dataclass
class Rows:
    """Columns of predictions, a list entry per image; None in rows with an error.

    Attributes:
        path: Names of the images.
        classes: Indices of the most probable classes, the most probable first.
        scores: Their probabilities.
        error: Reason why an image could not be read, or None.
        recognised: Whether the top prediction reaches the model's rejection
            threshold; None: the model has none.
        probabilities: Probabilities of all classes, float16; None: not requested.
        embeddings: Pooled features, float32; None: not requested.
    """

    path: list[str] = dataclasses.field(default_factory=list)
    classes: list[list[int] | None] = dataclasses.field(default_factory=list)
    scores: list[list[float] | None] = dataclasses.field(default_factory=list)
    error: list[str | None] = dataclasses.field(default_factory=list)
    recognised: list[bool | None] | None = None
    probabilities: list[np.ndarray | None] | None = None
    embeddings: list[np.ndarray | None] | None = None

    def __len__(self) -> int:
        return len(self.path)

    @property
    def errors(self) -> int:
        """Number of images that could not be read."""
        return sum(reason is not None for reason in self.error)

    def extend(self, others: Rows) -> None:
        """Appends other rows with the same columns."""
        for name, values in others.columns().items():
            if getattr(self, name) is None:
                setattr(self, name, [])
            getattr(self, name).extend(values)

    def columns(self) -> dict[str, list[Any]]:
        """Returns the columns by name, in the order of the file."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: values for name, values in fields.items() if values is not None}


def write_parquet(rows: Rows, path: Path) -> None:
    """Writes rows to a Parquet file.

    Args:
        rows: Rows of a part.
        path: Path of the file.

    Raises:
        ImportError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    arrow = require_package("pyarrow", "batch")
    types = {
        "path": arrow.string(),
        "classes": arrow.list_(arrow.int32()),
        "scores": arrow.list_(arrow.float32()),
        "error": arrow.string(),
        "recognised": arrow.bool_(),
        "probabilities": arrow.list_(arrow.float16()),
        "embeddings": arrow.list_(arrow.float32()),
    }
    columns = rows.columns()
    columns["path"] = [_as_utf8(name) for name in rows.path]
    table = arrow.table(
        {name: arrow.array(values, types[name]) for name, values in columns.items()}
    )
    require_package("pyarrow.parquet", "batch").write_table(table, path)


def write_jsonl(rows: Rows, path: Path) -> None:
    """Writes rows to a file with a JSON object per line.

    Args:
        rows: Rows of a part.
        path: Path of the file.

    Raises:
        OSError: The file cannot be written.
    """
    columns = rows.columns()
    with path.open("w", encoding="ascii") as file:
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, map(_plain, values), strict=True))
            file.write(json.dumps(row) + "\n")


# Format -> function that writes a part.
WRITERS: dict[str, Callable[[Rows, Path], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _as_utf8(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
