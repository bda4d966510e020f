"""Manifest of an output folder: the model, options and images of its parts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_efficientnet.common.files import waiting_lock, write_text

MANIFEST = "manifest.json"
WORK = "_work"  # subfolder of unfinished files, which readers of Parquet skip
# Number of parts per task by default: what a killed task loses.
_PARTS_PER_SHARD = 8
_MIN_PART, _MAX_PART = 100, 10_000  # images


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Facts that all parts of an output folder have in common.

    Attributes:
        model: Path or name of the model.
        model_digest: Digest of its weights, class names and preprocessing.
        input: Images, as the user named them.
        input_digest: Digest of their locations.
        images: Number of images.
        part_size: Number of images per part.
        runtime: Name of the runtime.
        options: Other options that change the rows or their files.
    """

    model: str
    model_digest: str
    input: str
    input_digest: str
    images: int
    part_size: int
    runtime: str
    options: Mapping[str, Any]


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


def read_manifest(output: Path) -> Manifest | None:
    """Reads the manifest of an output folder; returns None without one.

    Args:
        output: Output folder.

    Raises:
        ValueError: The manifest is damaged, or there are parts without a manifest.
    """
    path = output / MANIFEST
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        parts = sorted(output.glob("part-*"))
        if parts:
            raise ValueError(
                f"`output` must not hold parts without their {MANIFEST}; choose "
                f"another folder. Received: output={output} with {parts[0].name}"
            ) from None
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"A {MANIFEST} must be as batch_predict has written it. "
            f"Received: {path} ({error})"
        ) from error


def check_manifest(found: Manifest, wanted: Mapping[str, Any], output: Path) -> None:
    """Checks that finished parts belong to the same job.

    Args:
        found: Manifest of the output folder.
        wanted: Fields of the manifest that this job requires.
        output: Output folder, for the error.

    Raises:
        ValueError: A field has another value; the message lists those that have.
    """
    have = dataclasses.asdict(found)
    have |= dict(have.pop("options"))
    required = {**wanted, **wanted.get("options", {})}
    required.pop("options", None)
    others = [
        f"{name}={have.get(name)!r}, not {value!r}"
        for name, value in required.items()
        if have.get(name) != value
    ]
    if others:
        raise ValueError(
            "`output` must be empty or hold parts of the same job: the same model, "
            "images and options. Choose another folder, or delete the parts. "
            f"Received: output={output}, whose {MANIFEST} has {'; '.join(others)}"
        )


def settle_manifest(wanted: Manifest, output: Path) -> Manifest:
    """Writes the manifest, unless another task of the job has written it.

    Args:
        wanted: Manifest of this task.
        output: Output folder.

    Returns:
        The manifest of the folder.

    Raises:
        ValueError: Another task has written that of another job.
        OSError: The file cannot be written.
    """
    with waiting_lock(output / WORK / ".manifest.lock", "writes the manifest"):
        found = read_manifest(output)
        if found is None:
            text = json.dumps(dataclasses.asdict(wanted), indent=2) + "\n"
            write_text(output / MANIFEST, text, shared=True)
            return wanted
    fields = dataclasses.asdict(wanted)
    check_manifest(found, fields | {"model": found.model, "input": found.input}, output)
    return found
