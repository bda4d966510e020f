"""Versions of a SavedModel, in folders as TensorFlow Serving expects them."""

from __future__ import annotations

from pathlib import Path

SAVED_MODEL_FILE = "saved_model.pb"


def find_saved_model(path: Path) -> Path | None:
    """Finds a SavedModel in a folder, or its newest version.

    Args:
        path: A SavedModel, or a folder with a SavedModel for each version: `path`/1,
            `path`/2 and so on.

    Returns:
        Folder that contains saved_model.pb; None if there is none.
    """
    if (path / SAVED_MODEL_FILE).is_file():
        return path
    versions = [x for x in path.glob("*") if x.name.isdecimal()]
    found = [x for x in versions if (x / SAVED_MODEL_FILE).is_file()]
    return max(found, key=lambda x: int(x.name), default=None)
