"""Cache of the indexes of record files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_efficientnet.common.files import cache_dir, open_regular, replacing

_FORMAT = 2  # version of the cached index; older files are ignored


def cache_path(
    paths: Sequence[str],
    layout: Sequence[str | int],
    stats: Sequence[Any],
    checksums: Sequence[str | None] | None,
) -> pathlib.Path:
    """Returns the path of an index.

    Args:
        paths: Paths of the record files.
        layout: Values that tell layouts of records apart.
        stats: Size and time of each file.
        checksums: Expected SHA-256 of each file, or None.
    """
    files = [(p, s.length, s.mtime_nsec) for p, s in zip(paths, stats, strict=True)]
    parts = [_FORMAT, layout, files]
    # An index that was made without these checksums has not checked the files.
    key = json.dumps([*parts, checksums] if checksums and any(checksums) else parts)
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
    return cache_dir() / "indexes" / name


def read_cache(
    path: pathlib.Path, classes: int, sizes: Sequence[int]
) -> np.ndarray | None:
    """Reads an index; returns None without one, and warns if it is damaged.

    Args:
        path: Path of the index.
        classes: Number of classes.
        sizes: Size of each record file in bytes.
    """
    try:
        with open_regular(path) as stream:
            found = np.load(stream)
            is_whole = stream.read() == hashlib.sha256(found.tobytes()).digest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError, MemoryError):
        is_whole = False
    if is_whole and _fits(found, classes, sizes):
        return found
    warnings.warn(f"{path} is damaged; indexing the files again", stacklevel=3)
    return None


def _fits(found: np.ndarray, classes: int, sizes: Sequence[int]) -> bool:
    """Returns whether an index fits files of the given sizes."""
    if found.dtype != np.int64 or found.ndim != 2 or found.shape[1] != 4:
        return False
    if not len(found) or found.min() < 0:
        return False
    file, place, length, label = found.T
    if file.max() >= len(sizes) or label.max() >= classes:
        return False
    # The sum could overflow. In an ArrayRecord, the place is a record number.
    room = np.array(sizes, np.int64)[file]
    return bool((place <= room).all() and (length <= room - place).all())


def write_cache(path: pathlib.Path, found: np.ndarray) -> None:
    """Writes an index if possible; otherwise the files are indexed again.

    Args:
        path: Path of the index.
        found: File, place, length and label of each image, (images, 4), int64.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as unfinished, unfinished.open("wb") as file:
            np.save(file, found)
            file.write(hashlib.sha256(found.tobytes()).digest())
