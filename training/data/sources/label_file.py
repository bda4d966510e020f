"""Files of pseudo labels, which training.pseudo_label writes."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np

from keras_efficientnet.common.files import open_regular, replacing


class NameArray(Sequence[str]):
    """Names in one array of bytes, which takes a fraction of a list's memory.

    Args:
        text: UTF-8 bytes of all names, (bytes,), uint8.
        ends: End of each name in `text`, (names,), int64.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        self.text = text
        self.ends = ends

    @classmethod
    def from_names(cls, names: Iterable[str]) -> NameArray:
        """Packs names; those of files may have any encoding."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        text = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(text, np.cumsum([len(name) for name in encoded], dtype=np.int64))

    def take(self, positions: np.ndarray) -> NameArray:
        """Returns the names at some positions.

        Args:
            positions: Positions, (taken,), int64.
        """
        sizes = np.diff(self.ends, prepend=0)
        starts, sizes = (self.ends - sizes)[positions], sizes[positions]
        ends = np.cumsum(sizes)
        places = np.arange(sizes.sum()) + np.repeat(starts - (ends - sizes), sizes)
        return NameArray(self.text[places], ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        at = range(len(self))[position]
        start = int(self.ends[at - 1]) if at else 0
        encoded = self.text[start : int(self.ends[at])].tobytes()
        return encoded.decode("utf-8", "surrogateescape")


@dataclasses.dataclass(frozen=True)
class TopProbabilities:
    """Probabilities of the most probable classes of each image.

    Attributes:
        classes: Indices of the classes, (images, k), integers.
        scores: Their probabilities, (images, k), float16.
        count: Number of all classes.
    """

    classes: np.ndarray
    scores: np.ndarray
    count: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array of all probabilities."""
        return len(self.classes), self.count

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Returns all probabilities of some images.

        The other classes share evenly what the scores leave of 1.

        Args:
            rows: Positions of the images, (rows,), integers.

        Returns:
            (rows, count), float16.

        Example:
            >>> top = TopProbabilities(np.array([[2]]), np.float16([[0.75]]), 3)
            >>> top.dense(np.array([0])).tolist()
            [[0.125, 0.125, 0.75]]
        """
        scores = self.scores[rows]
        others = max(1, self.count - scores.shape[1])
        rest = np.maximum(0, 1 - scores.sum(axis=1, dtype=np.float32)) / others
        found = np.repeat(rest.astype(np.float16)[:, np.newaxis], self.count, axis=1)
        np.put_along_axis(found, self.classes[rows].astype(np.int64), scores, axis=1)
        return found


def dense_rows(
    probabilities: np.ndarray | TopProbabilities, rows: np.ndarray
) -> np.ndarray:
    """Returns all probabilities of some images, (rows, classes), float16.

    Args:
        probabilities: Probabilities of all classes or of the most probable ones.
        rows: Positions of the images, (rows,), integers; may repeat.
    """
    if isinstance(probabilities, TopProbabilities):
        return probabilities.dense(rows)
    return probabilities[rows]


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Predictions of a teacher for the images of a split.

    Attributes:
        data: Source or folder of the images, as on the command line; empty: the names
            are paths of image files.
        data_dir: Folder in which TFDS keeps its data sets; empty: its default.
        names: Names of the images that were kept.
        positions: Positions of these images in the split, (kept,), int64.
        probabilities: Predicted probabilities, (kept, classes), float16, or those of
            the most probable classes.
        rows: Rows of the arrays above to train on, which repeat images of rare
            classes, (images,), integers.
        class_names: Names of the teacher's classes, in index order; empty: not known.
    """

    data: str
    data_dir: str
    names: Sequence[str]
    positions: np.ndarray
    probabilities: np.ndarray | TopProbabilities
    rows: np.ndarray
    class_names: Sequence[str] = ()

    @property
    def answers(self) -> np.ndarray:
        """Most probable class of each image, (kept,), integers."""
        if isinstance(self.probabilities, TopProbabilities):
            return self.probabilities.classes[:, 0]
        return self.probabilities.argmax(axis=1)

    def save(self, path: str) -> None:
        """Writes the file, atomically.

        Args:
            path: Path of the .npz file.
        """
        target = pathlib.Path(path).expanduser()
        target.parent.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "data": self.data,
            "data_dir": self.data_dir,
            "positions": self.positions,
            "rows": self.rows,
            "class_names": self.class_names,
        }
        names = self.names
        if not isinstance(names, NameArray):
            names = NameArray.from_names(names)
        values |= {"names_utf8": names.text, "name_ends": names.ends}
        found = self.probabilities
        if isinstance(found, TopProbabilities):
            values |= {"top_classes": found.classes, "top_scores": found.scores}
            values["classes"] = found.count
        else:
            values["probabilities"] = found
        with (
            replacing(target, shared=True) as unfinished,
            unfinished.open("wb") as stream,
        ):
            np.savez(stream, **values)

    @classmethod
    def open(cls, path: str) -> PseudoLabels:
        """Reads a file written by `save`.

        Raises:
            ValueError: It is not such a file.
        """
        try:
            with open_regular(pathlib.Path(path).expanduser()) as stream:
                return cls._from_archive(np.load(stream))
        except (OSError, ValueError, LookupError, EOFError, BadZipFile) as error:
            raise ValueError(
                "`pseudo_labels` must be a file written by training.pseudo_label. "
                f"Received: pseudo_labels={path!r} ({error})"
            ) from error

    @classmethod
    def _from_archive(cls, archive: Any) -> PseudoLabels:
        probabilities: np.ndarray | TopProbabilities
        if "top_classes" in archive:
            probabilities = TopProbabilities(
                archive["top_classes"], archive["top_scores"], int(archive["classes"])
            )
        else:
            probabilities = archive["probabilities"]
        return cls(
            data=str(archive["data"]),
            data_dir=str(archive["data_dir"]),
            names=NameArray(archive["names_utf8"], archive["name_ends"]),
            positions=archive["positions"],
            probabilities=probabilities,
            rows=archive["rows"],
            class_names=tuple(archive["class_names"].tolist()),
        )
