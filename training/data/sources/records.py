"""Record files (TFRecord, ArrayRecord), read by position through an index.

Training reads images by position, so that it can start at any step, but such files can
only be read from front to back or by record number. One pass finds the place of each
image, and the index is cached.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.plain_text import tf_reason

from ..autotuning import without_autotuning
from . import index_cache
from .base import Split

_AT_ONCE = 8  # files indexed in parallel
_BATCH = 1024  # records
_BLOCK = 8 << 20  # bytes read at once for a checksum
_MOST_OPEN = 256  # open files; systems often allow 1024 per process


class UnlabelledError(ValueError):
    """All labels are -1, which TFDS uses for unpublished labels."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Features of a record, which is a serialized tf.train.Example.

    Attributes:
        image: Name of the feature with the encoded image.
        label: Name of the feature with the label.
        first_label: Label of class 0.
        classes: Number of classes.
    """

    image: str
    label: str
    first_label: int
    classes: int

    @property
    def key(self) -> tuple[str | int, ...]:
        """Values that tell indexes of different layouts apart."""
        return dataclasses.astuple(self)

    def parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the encoded image and the label of a serialized record."""
        features = {
            self.image: tf.io.FixedLenFeature((), tf.string),
            self.label: tf.io.FixedLenFeature((), tf.int64),
        }
        parsed = tf.io.parse_single_example(record, features)
        return parsed[self.image], parsed[self.label]


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Index of the images in record files.

    Attributes:
        paths: Paths of the files.
        file: Position in `paths` of each image's file, (images,), int32.
        place: Offset of each image in its file in bytes, or number of its record in an
            ArrayRecord, (images,), int64.
        length: Size of each image in bytes, (images,), int64.
        label: Class index of each image, (images,), int32.
    """

    paths: tuple[str, ...]
    file: np.ndarray
    place: np.ndarray
    length: np.ndarray
    label: np.ndarray


class RecordNames(Sequence[str]):
    """Names of the images, made on demand: "train-00003-of-01024#17"."""

    def __init__(self, index: RecordIndex) -> None:
        self._stems = [os.path.basename(path) for path in index.paths]
        self._file = index.file
        counts = np.bincount(index.file, minlength=len(index.paths))
        self._first = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        at = range(len(self))[position]
        file = int(self._file[at])
        return f"{self._stems[file]}#{at - int(self._first[file])}"


def record_split(
    paths: Sequence[str], layout: Layout, checksums: Sequence[str | None] | None = None
) -> Split:
    """Opens TFRecord files as a split.

    Args:
        paths: Paths of uncompressed TFRecord files, local or any that tf.io.gfile
            reads.
        layout: Layout of their records.
        checksums: SHA-256 of each file, or None for a file without one. Files are
            checked when they are indexed. None: no checksums.

    Raises:
        ValueError: A file is damaged, lacks a feature or has a label out of range.
    """
    index = find_index(paths, layout, _index_tfrecord, checksums)
    read = _Reader(index).read
    return _split(index, _by_python(read))


def array_record_split(
    paths: Sequence[str], layout: Layout, checksums: Sequence[str | None] | None = None
) -> Split:
    """Opens ArrayRecord files as a split.

    Args:
        paths: Paths of the files.
        layout: Layout of their records.
        checksums: See `record_split`.

    Raises:
        ValueError: A file is damaged, lacks a feature or has a label out of range.
        ImportError: The package array_record is not installed.
    """
    index = find_index(paths, layout, _index_array_record, checksums)
    source, lock = _open_array_record(paths), threading.Lock()

    def read_record(position: np.ndarray) -> bytes:
        with lock:
            return source[int(position)]

    read = _by_python(read_record)
    return _split(index, lambda i: layout.parse(read(i))[0])


def _split(index: RecordIndex, read: Callable[[tf.Tensor], tf.Tensor]) -> Split:
    names = RecordNames(index)
    return Split(index.label, read, names, find_stamps=lambda: index.length)


def find_index(
    paths: Sequence[str],
    layout: Layout,
    index_file: Callable[[str, Layout], np.ndarray],
    checksums: Sequence[str | None] | None = None,
) -> RecordIndex:
    """Reads the index of record files from the cache, or makes it.

    Args:
        paths: Paths of the files.
        layout: Layout of their records.
        index_file: Function from a path and a layout to (images, 3) int64: place,
            length and label of each image.
        checksums: See `record_split`.

    Raises:
        ValueError: A file is damaged, lacks a feature or has a label out of range.
    """
    expected = checksums or [None] * len(paths)

    def index_checked(path: str, checksum: str | None) -> np.ndarray:
        if checksum is not None:
            _check_checksum(path, checksum)
        return index_file(path, layout)

    stats = _stat(paths)
    cached = index_cache.cache_path(paths, layout.key, stats, checksums)
    found = index_cache.read_cache(cached, layout.classes, [s.length for s in stats])
    if found is None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            parts = list(pool.map(index_checked, paths, expected))
        file = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        rows = np.concatenate(parts)
        found = np.concatenate([file[:, np.newaxis], rows], axis=1)
        index_cache.write_cache(cached, found)
    file, place, length, label = found.T
    return RecordIndex(
        tuple(paths), file.astype(np.int32), place, length, label.astype(np.int32)
    )


def _check_checksum(path: str, expected: str) -> None:
    digest = hashlib.sha256()
    try:
        with tf.io.gfile.GFile(path, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except tf.errors.OpError as error:
        raise ValueError(
            f"A record file must be readable. Received: {path} ({tf_reason(error)})"
        ) from error
    if digest.hexdigest() != expected:
        raise ValueError(
            "Record files must not change after they were prepared. "
            f"Received: {path}, whose checksum differs from the manifest's"
        )


def _index_tfrecord(path: str, layout: Layout) -> np.ndarray:
    def row(record: tf.Tensor) -> tf.Tensor:
        image, label = layout.parse(record)
        # The record contains the image's bytes unchanged; this finds their offset.
        before = tf.raw_ops.StringSplitV2(input=[record], sep=image, maxsplit=1)
        lengths = tf.strings.length([record, image, before.values[0]])
        return tf.concat([tf.cast(lengths, tf.int64), [label]], 0)

    records = tf.data.TFRecordDataset(path, buffer_size=8 << 20)
    rows = _collect(records.map(row, tf.data.AUTOTUNE), path, layout)
    record, image, before, label = rows.T
    # 12 bytes precede each record and 4 follow it: its length and two checksums.
    start = np.cumsum(record + 16) - record - 4
    return np.stack([start + before, image, label], axis=1)


def _index_array_record(path: str, layout: Layout) -> np.ndarray:
    source = _open_array_record([path])

    def batches() -> Iterator[list[bytes]]:
        for first in range(0, len(source), _BATCH):
            yield source.__getitems__(range(first, min(first + _BATCH, len(source))))

    records = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec((None,), tf.string)
    ).unbatch()

    def row(record: tf.Tensor) -> tf.Tensor:
        image, label = layout.parse(record)
        length = tf.strings.length(image, "BYTE")
        return tf.stack([tf.cast(length, tf.int64), label])

    rows = _collect(records.map(row, tf.data.AUTOTUNE), path, layout)
    image, label = rows[:, 0], rows[:, 1]
    return np.stack([np.arange(len(rows)), image, label], axis=1)


def _collect(rows: tf.data.Dataset, path: str, layout: Layout) -> np.ndarray:
    """Reads and checks all rows, and turns their labels into class indices.

    The label is the last number of a row.
    """
    try:
        parts = list(without_autotuning(rows.batch(_BATCH)).as_numpy_iterator())
    except tf.errors.DataLossError as error:
        raise ValueError(
            "A TFRecord file must be complete and not compressed. "
            f"Received: {path} ({tf_reason(error)})"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"Each record must be a tf.train.Example with {layout.image!r}, bytes, and "
            f"{layout.label!r}, an integer. Received: {path} ({tf_reason(error)})"
        ) from error
    except (tf.errors.OpError, OSError) as error:
        raise ValueError(
            f"A record file must be readable. Received: {path} ({tf_reason(error)})"
        ) from error
    if not parts:
        raise ValueError(
            f"A record file must contain records. Received: {path}, with none"
        )
    found = np.concatenate(parts)
    labels = found[:, -1]
    if (labels == -1).all():
        raise UnlabelledError(f"Images must have labels. Received: {path}, with none")
    last = layout.first_label + layout.classes - 1
    bad = np.flatnonzero((labels < layout.first_label) | (labels > last))
    if len(bad):
        raise ValueError(
            f"{layout.label!r} must be {layout.first_label} to {last}. "
            f"Received: {labels[bad[0]]} in record {bad[0]} of {path}"
        )
    found[:, -1] -= layout.first_label
    return found


class _Reader:
    """Reads the bytes of an image without blocking other Python threads."""

    def __init__(self, index: RecordIndex) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._open: dict[int, int] = {}  # position in paths -> file descriptor
        weakref.finalize(self, _close_all, self._open)

    def read(self, position: np.ndarray) -> bytes:
        index, i = self._index, int(position)
        file, place, length = int(index.file[i]), int(index.place[i]), index.length[i]
        path = index.paths[file]
        if "://" in path:
            with tf.io.gfile.GFile(path, "rb") as stream:
                stream.seek(place)
                found = stream.read(int(length))
        else:
            found = self._pread(file, path, int(length), place)
        if len(found) != length:
            raise OSError(f"{path} has been truncated since it was indexed")
        return found

    def _pread(self, file: int, path: str, length: int, place: int) -> bytes:
        with self._lock:
            descriptor = self._open.get(file)
            if descriptor is None and len(self._open) < _MOST_OPEN:
                descriptor = self._open[file] = os.open(path, os.O_RDONLY)
        if descriptor is not None:
            return os.pread(descriptor, length, place)
        with open(path, "rb") as stream:
            stream.seek(place)
            return stream.read(length)


def _close_all(opened: dict[int, int]) -> None:
    for descriptor in opened.values():
        os.close(descriptor)


def _by_python(read: Callable[[np.ndarray], bytes]) -> Callable[[Any], tf.Tensor]:
    def read_in_graph(position: tf.Tensor) -> tf.Tensor:
        found = tf.numpy_function(read, [position], tf.string, stateful=False)
        found.set_shape(())
        return found

    return read_in_graph


def import_array_record(module: str) -> Any:
    """Imports a module of the package array_record.

    Args:
        module: Name of the module, "array_record_module" to write files or
            "array_record_data_source" to read them.

    Raises:
        ImportError: The package is not installed.
    """
    try:
        return importlib.import_module(f"array_record.python.{module}")
    except ImportError as error:
        raise ImportError(
            "ArrayRecord files need array_record: "
            "pip install 'efficientnet-keras[records]'"
        ) from error


def _open_array_record(paths: Sequence[str]) -> Any:
    module = import_array_record("array_record_data_source")
    try:
        return module.ArrayRecordDataSource(list(paths))
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"ArrayRecord files must be complete. Received: {paths[0]} ({error})"
        ) from error


def _stat(paths: Sequence[str]) -> list[Any]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stats = list(pool.map(tf.io.gfile.stat, paths))
    for path, found in zip(paths, stats, strict=True):
        if found.is_directory:
            raise ValueError(f"A record file must not be a folder. Received: {path}")
    return stats
