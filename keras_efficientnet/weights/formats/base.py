"""Shared parts of the readers: types, size limits, zip archives, error messages."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import open_regular

Arrays = dict[str, np.ndarray]
# (class name, layer name) of each layer, in the order of `model.layers`.
LayerOrder = list[tuple[str, str]]


def layer_order(model: Any) -> LayerOrder:
    """Returns the class and name of each layer, needed for files that number layers.

    Args:
        model: Keras model.
    """
    return [(type(layer).__name__, layer.name) for layer in model.layers]


@contextlib.contextmanager
def naming_file(path: Path, kind: str) -> Iterator[None]:
    """Converts any error to a ValueError that names the file.

    Args:
        path: Path of the file.
        kind: Expected kind of file, for the error message.
    """
    try:
        yield
    except ImportError:
        raise  # its message says what to install
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {reason}") from error


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive for reading, rejecting zip bombs.

    Args:
        path: Path of the archive.

    Raises:
        ValueError: The entries overlap, use an unusual compression, or are far larger
            in total than the archive.
    """
    with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    f"its entry {entry.filename!r} uses an unusual compression"
                )
        if sum(entry.compress_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries overlap")
        check_total((entry.file_size for entry in entries), path)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads one entry of a zip archive, with a limit on its growth.

    Args:
        archive: Archive opened for reading.
        name: Name of the entry.

    Raises:
        ValueError: The entry is missing, damaged, or far larger than its compressed
            size.
    """
    if name not in archive.NameToInfo:
        raise ValueError(f"it has no entry {name!r}; it may be truncated")
    entry = archive.getinfo(name)
    if entry.file_size > growth_bound(entry.compress_size):
        raise ValueError(
            f"its entry {name!r} would expand from {entry.compress_size} to "
            f"{entry.file_size} bytes"
        )
    return archive.read(entry)


def check_total(sizes: Iterable[int], path: Path) -> None:
    """Checks that the content of a file stays within a multiple of its size.

    Args:
        sizes: Size of each part, bytes.
        path: Path of the file.

    Raises:
        ValueError: The content is too large.
    """
    total, stored = sum(sizes), path.stat().st_size
    if total > total_bound(stored):
        raise ValueError(f"it would expand from {stored} to {total} bytes")


def total_bound(stored: int) -> int:
    """Returns the maximum content, in bytes, of a file of `stored` bytes."""
    return 20 * stored + (64 << 20)


def growth_bound(stored: int) -> int:
    """Returns the maximum expansion of `stored` compressed bytes, in bytes."""
    # Trained weights hardly compress; a file that claims more is damaged or malicious.
    return 100 * max(stored, 10_000)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Converts bfloat16 numbers, given as uint16 bit patterns, to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
