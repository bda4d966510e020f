"""What all readers share: types, limits on sizes, zip archives, error messages."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import open_regular

Arrays = dict[str, np.ndarray]
# (class name, layer name) of layers, in the order of `model.layers`.
LayerOrder = list[tuple[str, str]]


def layer_order(model: Any) -> LayerOrder:
    """Returns class and name of each layer, which Keras' numbered files need.

    Args:
        model: Keras model.
    """
    return [(type(layer).__name__, layer.name) for layer in model.layers]


@contextlib.contextmanager
def naming_file(path: Path, kind: str) -> Iterator[None]:
    """Turns any error into a ValueError that names the file.

    Args:
        path: Of the file.
        kind: What the file must be, for the message.
    """
    try:
        yield
    except ImportError:
        raise  # tells what to install
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {reason}") from error


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive for reading, unless it is made to explode.

    Args:
        path: Of the archive.

    Raises:
        ValueError: Its entries overlap, are compressed in an unusual way, or are far
            larger in total than the archive.
    """
    with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"its entry {entry.filename!r} has an odd compression")
        if sum(entry.compress_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries overlap")
        check_total((entry.file_size for entry in entries), path)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads one file of a zip archive, unless it grows suspiciously on the way.

    Args:
        archive: Opened for reading.
        name: Of the entry.

    Raises:
        ValueError: There is no such entry, or it is damaged, or far larger than
            its compressed size.
    """
    if name not in archive.NameToInfo:
        raise ValueError(f"it has no entry {name!r}; it may be truncated")
    entry = archive.getinfo(name)
    if entry.file_size > growth_bound(entry.compress_size):
        raise ValueError(
            f"its entry {name!r} would grow from {entry.compress_size} to "
            f"{entry.file_size} bytes"
        )
    return archive.read(entry)


def check_total(sizes: Iterable[int], path: Path) -> None:
    """Checks that what is read from a file stays within a multiple of its size.

    Args:
        sizes: Bytes of each part.
        path: Of the file.

    Raises:
        ValueError: It does not.
    """
    total, stored = sum(sizes), path.stat().st_size
    if total > total_bound(stored):
        raise ValueError(f"it would grow from {stored} to {total} bytes")


def total_bound(stored: int) -> int:
    """Returns how many bytes a whole file of `stored` bytes may grow to."""
    return 20 * stored + (64 << 20)


def growth_bound(stored: int) -> int:
    """Returns how many bytes may at most come out of `stored` compressed ones."""
    # Trained weights hardly compress; a file that claims more is broken, or bait.
    return 100 * max(stored, 10_000)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Widens bfloat16 numbers, given as uint16 bit patterns, without loss."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
