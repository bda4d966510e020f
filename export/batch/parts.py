"""Parts of the output: their ranges of images, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keras_efficientnet.common.files import publish

from .manifest import Manifest
from .rows import WRITERS, Rows

Range = tuple[int, int]  # positions of the first image and after the last one

# Number of parts per task by default: what a killed task loses.
_PARTS_PER_SHARD = 8
_MIN_PART, _MAX_PART = 100, 10_000  # images

_BATCH_PIXELS = 32 * 224 * 224  # 19 MB of float32 pixels
_MAX_BATCH = 32  # images


@dataclasses.dataclass(frozen=True)
class Part:
    """A file of the output.

    Attributes:
        path: Path of the file.
        start: Position of its first image.
        stop: Position after its last image.
    """

    path: Path
    start: int
    stop: int


def default_part_size(images: int, shards: int) -> int:
    """Returns the number of images per part.

    Args:
        images: Number of images.
        shards: Number of tasks that share the parts.

    Example:
        >>> [default_part_size(images, 2) for images in (50, 5_000, 10**6)]
        [100, 313, 10000]
    """
    return min(_MAX_PART, max(_MIN_PART, -(-images // (_PARTS_PER_SHARD * shards))))


def list_parts(manifest: Manifest, output: Path, shards: int, shard: int) -> list[Part]:
    """Lists the parts of one task, finished or not.

    Args:
        manifest: Manifest of the output folder.
        output: Output folder.
        shards: Number of tasks that share the parts.
        shard: Index of the task.
    """
    size, suffix = manifest.part_size, manifest.options["format"]
    parts = []
    for number, start in enumerate(range(0, manifest.images, size)):
        if number % shards == shard:
            path = output / f"part-{number:05d}.{suffix}"
            parts.append(Part(path, start, min(start + size, manifest.images)))
    return parts


def split_part(part: Part, image_size: int) -> list[Range]:
    """Splits a part into the ranges that are classified at once.

    Args:
        part: Part of the output.
        image_size: Side of the model's input, pixels.
    """
    step = batch_size(image_size)
    return [
        (first, min(first + step, part.stop))
        for first in range(part.start, part.stop, step)
    ]


def write_part(rows: Rows, part: Part, work_folder: Path) -> None:
    """Writes a part under another name and renames it.

    Args:
        rows: All rows of the part.
        part: Part of the output.
        work_folder: Folder of unfinished files, in the same file system.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = work_folder / part.path.name
    WRITERS[part.path.suffix.removeprefix(".")](rows, unfinished)
    publish(unfinished, part.path)


def batch_size(image_size: int) -> int:
    """Returns the number of images that are classified at once.

    Args:
        image_size: Side of the input, pixels.

    Example:
        >>> batch_size(224), batch_size(600)
        (32, 4)
    """
    return max(1, min(_MAX_BATCH, _BATCH_PIXELS // image_size**2))
