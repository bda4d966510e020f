"""Output folder of a study: its settings, results and report."""

from __future__ import annotations

import contextlib
import csv
import json
import pathlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from keras_efficientnet.common.files import lock, write_csv, write_text
from keras_efficientnet.common.plain_text import from_csv_cell

from ..options import describe_changes, settings

Row = TypeVar("Row")


class StudyFolder:
    """Output folder of a study.

    Attributes:
        root: Path of the folder.
        report: Path of the report.
        settings: Path of the JSON file with the settings that the results depend on.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.report = root / "report.md"
        self.settings = root / "settings.json"

    def rows(
        self, kind: type[Row], key: Sequence[str], name: str = "results"
    ) -> ResultsTable:
        """Opens a CSV file of the folder; see `ResultsTable`."""
        return ResultsTable(self.root / f"{name}.csv", kind, key)


@contextlib.contextmanager
def open_folder(root: pathlib.Path, study: str, options: Any) -> Iterator[StudyFolder]:
    """Opens a folder for a new or an interrupted study.

    Args:
        root: Path of the folder, which is created if necessary.
        study: Key of `STUDIES`.
        options: Options of the study.

    Yields:
        The folder, locked against other processes.

    Raises:
        ValueError: The folder holds another study or results with other settings, or
            another process is using it.
    """
    folder = StudyFolder(root)
    wanted = {"study": study, **settings(options)}
    _check_settings(folder, wanted)
    root.mkdir(parents=True, exist_ok=True)
    with lock(root / ".lock", "output_dir"):
        write_text(folder.settings, json.dumps(wanted, indent=2) + "\n")
        yield folder


def _check_settings(folder: StudyFolder, wanted: dict[str, Any]) -> None:
    if not folder.settings.is_file():
        return
    old = json.loads(folder.settings.read_text(encoding="utf-8"))
    changes = describe_changes(old, wanted)
    if changes:
        raise ValueError(
            "`output_dir` must be new or hold the same study with the same settings; "
            f"{folder.root} differs in {changes}"
        )


class ResultsTable(Generic[Row]):
    """CSV file with a row per trial, written atomically after each row.

    Rows are dataclasses with fields of str, int, float and bool; a field of
    `float | None` may be empty.

    Args:
        path: Path of the file; rows of earlier sessions are kept.
        kind: Dataclass of the rows.
        key: Fields that identify a trial.

    Attributes:
        rows: Rows in the order in which they were added.
    """

    def __init__(self, path: pathlib.Path, kind: type[Row], key: Sequence[str]) -> None:
        self.path = path
        self._kind: Any = kind
        self._key = tuple(key)
        self.rows: list[Row] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [self._parse(line) for line in csv.DictReader(file)]

    def find(self, **key: Any) -> Row | None:
        """Returns the row of a trial, or None if there is none yet.

        Args:
            **key: Values of all fields that identify a trial.
        """
        wanted = tuple(key[name] for name in self._key)
        return next((row for row in self.rows if self._key_of(row) == wanted), None)

    def add(self, row: Row) -> None:
        """Adds a row, replacing a row with the same key."""
        kept = [old for old in self.rows if self._key_of(old) != self._key_of(row)]
        self.rows = [*kept, row]
        write_csv(self.path, [vars(row) for row in self.rows])

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self._key)

    def _parse(self, line: Mapping[str, str]) -> Row:
        types = typing.get_type_hints(self._kind)
        if line.keys() != types.keys():
            raise ValueError(
                f"{self.path} must have the columns {', '.join(types)}. "
                f"Received: {', '.join(map(str, line))}"
            )
        return self._kind(**{k: _parse(types[k], v) for k, v in line.items()})


def _parse(kind: Any, text: str) -> Any:
    if kind is bool:
        return text == "True"
    if kind is str:
        return from_csv_cell(text)
    if kind in (int, float):
        return kind(text)
    return None if text == "" else typing.get_args(kind)[0](text)
