"""On-disk list of the images of a job, read by position."""

from __future__ import annotations

import array
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_LINES, _OFFSETS = "images.jsonl", "offsets.npy"


@dataclasses.dataclass(frozen=True)
class ImageLocation:
    """Location of an encoded image.

    Attributes:
        path: Name in the output: the path of an image file; else that of the
            container, with the member's name or the record's number.
        container: Path of the tar, TFRecord or ArrayRecord file; empty for an image
            file.
        kind: "file", "tar", "tfrecord" or "arrayrecord".
        start: First byte in the container; of an ArrayRecord, the record's number.
        size: Number of bytes in the container; 0 where it does not matter.
    """

    path: str
    container: str = ""
    kind: str = "file"
    start: int = 0
    size: int = 0


class Listing:
    """Images of a job. Holds 8 bytes per image in memory.

    Args:
        folder: Folder in which `write_listing` has written it.
    """

    def __init__(self, folder: Path) -> None:
        self._lines = folder / _LINES
        self._offsets = np.load(folder / _OFFSETS)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, start: int, stop: int) -> list[ImageLocation]:
        """Reads a range of locations.

        Args:
            start: Position of the first image.
            stop: Position after the last image.
        """
        first, last = int(self._offsets[start]), int(self._offsets[stop])
        with self._lines.open("rb") as file:
            file.seek(first)
            lines = file.read(last - first).splitlines()
        return [ImageLocation(*json.loads(line)) for line in lines]


def write_listing(locations: Iterable[ImageLocation], folder: Path) -> str:
    """Writes the list of a job's images.

    Args:
        locations: Locations in the order of the output; consumed one by one.
        folder: Existing folder for the list's files.

    Returns:
        Digest of the list.
    """
    offsets, whole = array.array("q", [0]), hashlib.sha256()
    with (folder / _LINES).open("wb") as file:
        for location in locations:
            # ASCII with escapes, so that names that are not UTF-8 are kept.
            line = json.dumps(dataclasses.astuple(location)).encode() + b"\n"
            whole.update(line)
            file.write(line)
            offsets.append(offsets[-1] + len(line))
    np.save(folder / _OFFSETS, np.array(offsets, np.int64))
    return whole.hexdigest()
