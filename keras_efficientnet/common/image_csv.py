"""CSV and TSV files that list images with their labels."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from ..preprocessing import IMAGE_SUFFIXES
from .choices import did_you_mean
from .image_folders import (
    UNREADABLE_SUFFIXES,
    ImageFolder,
    class_order,
    readable_suffixes,
    shorten,
)
from .plain_text import printable
from .split_folders import split_of

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MARKS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_REQUIRED = ("path", "label")
_COLUMNS = (*_REQUIRED, "split", "weight")
_MOST_WEIGHT = 1e6  # larger ones overflow in sums of float32, and are errors
_AT_ONCE = 16  # files looked up in parallel; a file server answers slowly


@dataclasses.dataclass(frozen=True)
class ImageTable:
    """Images of a CSV file.

    Attributes:
        images: Images in the order of the file; `root` is the folder of the file.
            With several labels per image, `labels` holds the rarest label of each,
            -1 for an image without any.
        splits: Split of each image, "train", "validation" or "test". None: the file
            has no such column.
        weights: Weight of each image, (images,), float32. None: the file has no such
            column.
    """

    images: ImageFolder
    splits: tuple[str, ...] | None = None
    weights: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the file."""

    place: str  # file and line, for messages
    path: str  # absolute
    labels: tuple[str, ...]
    split: str | None
    weight: float | None


def is_image_csv(name: str | os.PathLike[str]) -> bool:
    """Tells whether a name is that of a CSV or TSV file, with or without options.

    Args:
        name: "FILE.csv", "FILE.tsv" or one of them with "?COLUMN=HEADER".

    Example:
        >>> [is_image_csv(n) for n in ("a.csv", "b.TSV?label=class", "photos")]
        [True, True, False]
    """
    return os.path.splitext(os.fspath(name).partition("?")[0])[1].lower() in DELIMITERS


def open_image_csv(
    name: str | os.PathLike[str], *, multi_label: bool = False
) -> ImageTable:
    """Opens a CSV or TSV file with a header line and one image per line.

    Args:
        name: Path of the file, with the columns "path" and "label" and, optionally,
            "split" and "weight". Other headers are given as in
            "FILE.csv?path=image&label=class". Paths of images are relative to the
            folder of the file and must stay inside it.
        multi_label: Whether an image may have any number of labels, separated by "|".

    Raises:
        ValueError: The file or a line of it is not usable; the message names the line.
    """
    file, headers = _parse_name(os.fspath(name))
    rows = list(_read_rows(file, headers, multi_label))
    if not rows:
        raise ValueError(f"{printable(file)} must list images. It lists none.")
    _check_distinct(rows)
    _check_files(rows)
    names = class_order({label for row in rows for label in row.labels})
    paths = tuple(row.path for row in rows)
    if multi_label:
        sets = _label_sets(rows, names)
        images = ImageFolder(file.parent, paths, rarest_labels(sets), names, sets)
    else:
        index = {label: i for i, label in enumerate(names)}
        labels = np.array([index[row.labels[0]] for row in rows], np.int32)
        images = ImageFolder(file.parent, paths, labels, names)
    has_split, has_weight = rows[0].split is not None, rows[0].weight is not None
    return ImageTable(
        images,
        tuple(str(row.split) for row in rows) if has_split else None,
        np.array([row.weight for row in rows], np.float32) if has_weight else None,
    )


def rarest_labels(sets: np.ndarray) -> np.ndarray:
    """Returns the rarest label of each image, (images,), int32; -1 without labels.

    Args:
        sets: Labels of the images, (images, classes), 1 or 0.

    Example:
        >>> rarest_labels(np.array([[1, 1], [1, 0], [0, 0]]))
        array([ 1,  0, -1], dtype=int32)
    """
    counts = np.where(sets > 0, sets.sum(axis=0, dtype=np.int64), len(sets) + 1)
    rarest = counts.argmin(axis=1) if sets.shape[1] else 0
    return np.where(sets.any(axis=1), rarest, -1).astype(np.int32)


def _label_sets(rows: Sequence[_Row], names: Sequence[str]) -> np.ndarray:
    index = {label: i for i, label in enumerate(names)}
    sets = np.zeros((len(rows), len(names)), np.uint8)
    for place, row in enumerate(rows):
        sets[place, [index[label] for label in row.labels]] = 1
    return sets


def _parse_name(name: str) -> tuple[Path, dict[str, str]]:
    """Splits "FILE?COLUMN=HEADER&..." into the file and the headers by column."""
    text, _, query = (name, "", "") if os.path.exists(name) else name.partition("?")
    file = Path(os.path.abspath(Path(text).expanduser()))
    if file.suffix.lower() not in DELIMITERS:
        raise ValueError(
            "A list of images must be a file that ends in "
            f"{' or '.join(DELIMITERS)}. Received: {printable(text)}"
        )
    if not file.is_file():
        raise ValueError(f"A list of images must exist. Received: {printable(text)}")
    headers = dict(parse_qsl(query, keep_blank_values=True))
    for column, header in headers.items():
        if column not in _COLUMNS or not header:
            raise ValueError(
                "The columns of a list of images must be given as in "
                f"'FILE.csv?path=image&label=class'; they are {', '.join(_COLUMNS)}."
                f"{did_you_mean(column, _COLUMNS)} Received: {query!r}"
            )
    if query and not headers:
        raise ValueError(
            "The columns of a list of images must be given as in "
            f"'FILE.csv?path=image&label=class'. Received: {query!r}"
        )
    return file, headers


def _read_rows(
    file: Path, headers: Mapping[str, str], multi_label: bool
) -> Iterator[_Row]:
    delimiter = DELIMITERS[file.suffix.lower()]
    line = 0
    try:
        # Spreadsheet programs put a byte-order mark in front.
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            found = next(filter(None, reader), [])  # blank lines are empty lists
            places = _find_columns(file, found, headers)
            line = reader.line_num
            for values in reader:
                if values:
                    place = f"{printable(file)}, line {line + 1}"
                    cells = _read_cells(place, found, places, values)
                    yield _read_row(place, file.parent, cells, multi_label)
                line = reader.line_num  # quoted values may span several
    except csv.Error as error:
        raise ValueError(
            f"{printable(file)} must be a valid CSV file. Received, after line {line}: "
            f"{error}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{printable(file)} must be UTF-8 text. Received: {error}"
        ) from error


def _find_columns(
    file: Path, found: Sequence[str], headers: Mapping[str, str]
) -> dict[str, int]:
    """Returns the position of each column that the file has."""
    names = [name.strip() for name in found]
    _check_delimiter(file, names)
    places = {}
    for column in _COLUMNS:
        header = headers.get(column, column)
        if names.count(header) == 1:
            places[column] = names.index(header)
        elif header in names or column in headers or column in _REQUIRED:
            hint = "" if header in names else did_you_mean(header, names)
            raise ValueError(
                f"{printable(file)} must have one column {header!r} in its first line."
                f"{hint} Other headers are given as in "
                "'FILE.csv?path=image&label=class'. Received: "
                f"{shorten(names) or 'no columns'}"
            )
    return places


def _check_delimiter(file: Path, names: Sequence[str]) -> None:
    """Checks that the first line is not one value with another delimiter in it."""
    wanted = DELIMITERS[file.suffix.lower()]
    others = [mark for mark in (";", "\t", ",") if mark in "".join(names)]
    if len(names) == 1 and others:
        raise ValueError(
            f"{printable(file)} must separate its values by {_MARKS[wanted]}, as "
            f"{file.suffix.lower()} files do. Received: {_MARKS[others[0]]}, in "
            f"{shorten(names)}"
        )


def _read_cells(
    place: str,
    found: Sequence[str],
    places: Mapping[str, int],
    values: Sequence[str],
) -> dict[str, str]:
    """Returns the text of each column in a line."""
    if len(values) != len(found):
        raise ValueError(
            f"{place} must have {len(found)} values, as the first line has. "
            f"Received: {len(values)}"
        )
    return {column: values[at].strip() for column, at in places.items()}


def _read_row(
    place: str, folder: Path, cells: Mapping[str, str], multi_label: bool
) -> _Row:
    return _Row(
        place,
        _read_path(place, folder, cells["path"]),
        _read_labels(place, cells["label"], multi_label),
        _read_split(place, cells["split"]) if "split" in cells else None,
        _read_weight(place, cells["weight"]) if "weight" in cells else None,
    )


def _read_path(place: str, folder: Path, text: str) -> str:
    path = os.path.normpath(folder / text)
    inside = os.path.join(folder, "")
    if not text or "\0" in text or not path.startswith(inside):
        raise ValueError(
            f"{place} must have the path of an image in the folder of the file. "
            f"Received: path={text!r}"
        )
    suffix = os.path.splitext(path)[1].lower()
    known = (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES)
    if suffix in known and suffix not in readable_suffixes():
        raise ValueError(
            f"{place} must have an image that can be decoded "
            f"({', '.join(readable_suffixes())}). Received: path={text!r}"
        )
    return path


def _read_labels(place: str, text: str, multi_label: bool) -> tuple[str, ...]:
    if multi_label and not text:
        return ()
    if not multi_label and (not text or "|" in text):
        raise ValueError(
            f"{place} must have a single label; images with none or several, separated "
            "by '|', need a multi-label model (task='multi_label'). "
            f"Received: label={text!r}"
        )
    labels = [part.strip() for part in text.split("|")] if multi_label else [text]
    for label in labels:
        if not label.strip(". ") or set(label) & set("/\\\n\r"):
            raise ValueError(
                f"{place} must have a label that fits as the name of a folder. "
                f"Received: label={text!r}"
            )
    if len(set(labels)) < len(labels):
        raise ValueError(f"{place} must have each label once. Received: label={text!r}")
    return tuple(labels)


def _read_split(place: str, text: str) -> str:
    split = split_of(text)
    if split is None:
        choices = ("train", "validation", "test")
        raise ValueError(
            f"{place} must have the split {', '.join(choices[:2])} or {choices[2]}."
            f"{did_you_mean(text, choices)} Received: split={text!r}"
        )
    return split


def _read_weight(place: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= _MOST_WEIGHT:
        raise ValueError(
            f"{place} must have a weight of at least 0 and at most {_MOST_WEIGHT:g}. "
            f"Received: weight={text!r}"
        )
    return weight


def _check_distinct(rows: Sequence[_Row]) -> None:
    seen: dict[str, _Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is row:
            continue
        line = first.place.rpartition(" ")[2]
        same = "the same label"
        if set(first.labels) != set(row.labels):
            same = f"labels {'|'.join(first.labels)!r} and {'|'.join(row.labels)!r}"
        raise ValueError(
            f"{row.place} must have an image that no other line lists. Received: "
            f"{printable(row.path)}, which line {line} lists too, with {same}"
        )


def _check_files(rows: Sequence[_Row]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        exist = pool.map(os.path.isfile, [row.path for row in rows])
        missing = [row for row, ok in zip(rows, exist, strict=True) if not ok]
    if missing:
        more = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise ValueError(
            f"{missing[0].place} must have the path of a file that exists. "
            f"Received: {printable(missing[0].path)}{more}"
        )
