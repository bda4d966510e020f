"""Reads the predictions that export.batch_predict writes, part by part."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.common.sidecars import LABELS_FILE, read_sidecars

from .sources.label_file import NameArray, TopProbabilities

_MANIFEST = "manifest.json"
_ROWS = 1 << 15  # rows read at once
_MOST_SUM = 1.01  # of probabilities, which are rounded


@dataclasses.dataclass(frozen=True)
class PredictionRows:
    """Consecutive rows of predictions.

    Attributes:
        names: Names of the images; None: not requested.
        classes: Indices of the most probable classes, (rows, k), int32; 0 for an image
            that could not be read.
        scores: Their probabilities, (rows, k), float32; 0 for such an image.
    """

    names: NameArray | None
    classes: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class BatchPredictions:
    """Folder of finished batch predictions.

    Attributes:
        folder: Path of the folder.
        class_names: Names of the classes, in index order.
        images: Number of rows.
        parts: Paths of the parts, in order.
        top: Number of classes per row.
    """

    folder: Path
    class_names: tuple[str, ...]
    images: int
    parts: tuple[Path, ...]
    top: int

    def rows(self, *, names: bool) -> Iterator[PredictionRows]:
        """Reads all rows in order, a bounded number at a time.

        Args:
            names: Whether to read the names.

        Raises:
            ValueError: A part is damaged, or its scores are not those of mutually
                exclusive classes.
            ImportError: pyarrow is needed and not installed.
        """
        count = 0
        for part in self.parts:
            read = _read_jsonl if part.suffix == ".jsonl" else _read_parquet
            for found in read(part, self.top, names):
                self._check(found, part)
                count += len(found.classes)
                yield found
        if count != self.images:
            raise ValueError(
                f"The parts of `predictions` must have {self.images:,} rows, as their "
                f"{_MANIFEST} says. Received: {self.folder} with {count:,}"
            )

    def take(self, positions: np.ndarray) -> tuple[NameArray, TopProbabilities]:
        """Returns the names and probabilities of some rows.

        Args:
            positions: Positions of the rows, ascending, (taken,), int64.

        Raises:
            ValueError: See `rows`.
        """
        # Filled in place: lists of parts would need twice the memory at the end.
        classes = np.empty((len(positions), self.top), self._index_type)
        scores = np.empty((len(positions), self.top), np.float16)
        sizes = np.empty(len(positions), np.int64)
        text, start = bytearray(), 0
        for batch in self.rows(names=True):
            stop = start + len(batch.classes)
            first, last = np.searchsorted(positions, [start, stop])
            at = positions[first:last] - start
            classes[first:last] = batch.classes[at]
            scores[first:last] = batch.scores[at]
            if batch.names is not None:
                names = batch.names.take(at)
                sizes[first:last] = np.diff(names.ends, prepend=0)
                text += names.text.tobytes()
            start = stop
        found = NameArray(np.frombuffer(text, np.uint8), np.cumsum(sizes, out=sizes))
        return found, TopProbabilities(classes, scores, len(self.class_names))

    @property
    def _index_type(self) -> type[np.integer[Any]]:
        fits = len(self.class_names) <= np.iinfo(np.int16).max
        return np.int16 if fits else np.int32

    def _check(self, found: PredictionRows, part: Path) -> None:
        highest = int(found.classes.max(initial=0))
        if highest >= len(self.class_names) or found.classes.min(initial=0) < 0:
            raise ValueError(
                f"The classes of `predictions` must be 0 to "
                f"{len(self.class_names) - 1}. Received: {part} with {highest}"
            )
        total = float(found.scores.sum(axis=1).max(initial=0))
        if not total <= _MOST_SUM or found.scores.min(initial=0) < 0:
            raise ValueError(
                "The scores of `predictions` must be probabilities of mutually "
                f"exclusive classes. Received: {part} with scores that add up to "
                f"{total:.3f}"
            )


def open_predictions(folder: str) -> BatchPredictions:
    """Opens a folder of export.batch_predict.

    Args:
        folder: Path of the folder.

    Raises:
        ValueError: It is not such a folder, the predictions are not finished, or those
            of a multi-label model.
    """
    root = Path(folder).expanduser().absolute()
    try:
        manifest = json.loads((root / _MANIFEST).read_text(encoding="utf-8"))
        images, size = int(manifest["images"]), int(manifest["part_size"])
        options = manifest["options"]
        suffix, top = options["format"], int(options["top"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(
            "`predictions` must be a folder written by export.batch_predict. "
            f"Received: predictions={folder!r} ({error})"
        ) from error
    if options.get("multi_label"):
        raise ValueError(
            "`predictions` must be those of a teacher with mutually exclusive classes. "
            f"Received: predictions={folder!r} of a multi-label model"
        )
    class_names = read_sidecars(root).labels
    if class_names is None:
        raise ValueError(
            f"`predictions` must have a {LABELS_FILE}. Received: predictions={folder!r}"
        )
    numbers = range(-(-images // size))
    parts = tuple(root / f"part-{number:05d}.{suffix}" for number in numbers)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ValueError(
            "`predictions` must be finished; run export.batch_predict again. "
            f"Received: {printable(root)} without {shorten(missing)}"
        )
    top = min(top, len(class_names))
    return BatchPredictions(root, class_names, images, parts, top)


def check_file_names(names: Sequence[str]) -> None:
    """Checks that the names of predicted images are paths of files.

    Args:
        names: Names of the images.

    Raises:
        ValueError: An image is inside a record or tar file, or behind a URL.
    """
    for name in names:
        is_record = re.search(r"#[0-9]+$", name) is not None
        if is_record or ".tar/" in name or not os.path.isabs(name):
            raise ValueError(
                "Predicted images must be files, or `data` must name the source that "
                "contains them, such as tfrecord:GLOB. "
                f"Received: {printable(name)}"
            )


def find_positions(
    names: Sequence[str], source_names: Sequence[str], data: str
) -> np.ndarray:
    """Finds predicted images in a source.

    Args:
        names: Names of the images, as the predictions have them.
        source_names: Names of the images of the source.
        data: Name of the source, for the error.

    Returns:
        Positions in the source, (images,), int64.

    Raises:
        ValueError: An image is not in the source, or two have the same name there.
    """
    has_paths = bool(source_names) and os.path.isabs(source_names[0])
    wanted = {
        name if has_paths else os.path.basename(name): i for i, name in enumerate(names)
    }
    found = np.full(len(names), -1, np.int64)
    for position, name in enumerate(source_names):
        if name in wanted:
            found[wanted[name]] = position
    missing = np.flatnonzero(found < 0)
    if len(missing):
        raise ValueError(
            "The predicted images must be in the training split of `data`, under "
            f"distinct names. Received: data={data!r} without {len(missing):,} of "
            f"{len(names):,} images, such as {printable(names[missing[0]])}"
        )
    return found


def _read_parquet(path: Path, top: int, names: bool) -> Iterator[PredictionRows]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Predictions in Parquet files need pyarrow: "
            "pip install 'efficientnet-keras[batch]'"
        ) from error
    columns = ["classes", "scores", *(["path"] if names else [])]
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=columns):
                classes = _flatten(batch.column("classes"))
                scores = _flatten(batch.column("scores"))
                yield PredictionRows(
                    _names(batch.column("path"), pyarrow) if names else None,
                    *_matrices(classes, scores, top),
                )
    except (OSError, KeyError, ValueError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from error


def _names(column: Any, pyarrow: Any) -> NameArray:
    packed = column.cast(pyarrow.large_string())
    _, offsets, text = packed.buffers()
    ends = np.frombuffer(offsets, np.int64)[packed.offset :][: len(packed) + 1]
    content = np.frombuffer(text, np.uint8)[ends[0] : ends[-1]]
    return NameArray(content, ends[1:] - ends[0])


def _flatten(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values of a column of lists, and the lists' lengths, 0 for null."""
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return column.flatten().to_numpy(zero_copy_only=False), lengths


def _matrices(
    classes: tuple[np.ndarray, np.ndarray],
    scores: tuple[np.ndarray, np.ndarray],
    top: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns classes and scores as arrays, (rows, top).

    Batch prediction leaves out classes with probability 0. Here they follow the others,
    with score 0.

    Args:
        classes: Classes of all rows, and the number of classes of each row; 0 for an
            image that could not be read, which gets zeros.
        scores: Scores in the same form.
        top: Number of classes per row.
    """
    lengths = classes[1]
    is_given = np.arange(top) < lengths[:, np.newaxis]
    given = int(is_given.sum())
    if not given == len(classes[0]) == len(scores[0]) or (lengths != scores[1]).any():
        raise ValueError(f"rows must have at most {top} classes, each with a score")
    found = np.zeros(is_given.shape, np.int32)
    found[is_given] = classes[0]
    values = np.zeros(is_given.shape, np.float32)
    values[is_given] = scores[0]
    short = np.flatnonzero((lengths > 0) & (lengths < top))
    if len(short):
        found[short] = _add_others(found[short], is_given[short])
    return found, values


def _add_others(classes: np.ndarray, is_given: np.ndarray) -> np.ndarray:
    """Fills incomplete rows with other classes, the lowest indices first."""
    is_used = np.zeros(classes.shape, bool)
    row, column = np.nonzero(is_given & (classes < classes.shape[1]))
    is_used[row, classes[row, column]] = True
    others = np.argsort(is_used, axis=1, kind="stable")  # unused ones first
    found = classes.copy()
    row, column = np.nonzero(~is_given)
    found[row, column] = others[row, column - is_given.sum(axis=1)[row]]
    return found


def _read_jsonl(path: Path, top: int, names: bool) -> Iterator[PredictionRows]:
    try:
        with path.open(encoding="utf-8") as file:
            rows: list[Mapping[str, Any]] = []
            for line in file:
                rows.append(json.loads(line))
                if len(rows) == _ROWS:
                    yield _from_json(rows, top, names)
                    rows = []
            if rows:
                yield _from_json(rows, top, names)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def _from_json(
    rows: Sequence[Mapping[str, Any]], top: int, names: bool
) -> PredictionRows:
    return PredictionRows(
        NameArray.from_names(row["path"] for row in rows) if names else None,
        *_matrices(
            _flatten_lists([row["classes"] or [] for row in rows]),
            _flatten_lists([row["scores"] or [] for row in rows]),
            top,
        ),
    )


def _flatten_lists(lists: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(values) for values in lists])
    return np.array([value for values in lists for value in values]), lengths


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        "The parts of `predictions` must be as export.batch_predict has written them. "
        f"Received: {path} ({error})"
    )
