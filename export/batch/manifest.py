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
