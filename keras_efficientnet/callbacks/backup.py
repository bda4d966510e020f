"""Backup files of the moving average, from which an interrupted `fit` resumes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from ..common.files import replacing

_NAME = re.compile(r"average-(\d{9,})\.npz")
# The earlier one is needed if `fit` stops before the model's own backup is written.
_KEEP = 2


class AverageBackup:
    """Folder of backup files, `average-STEP.npz`.

    Args:
        directory: Path of the folder, which is created when the first is saved.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, step: int, arrays: dict[str, np.ndarray]) -> None:
        """Writes a backup atomically, then deletes all but the latest two.

        Args:
            step: Number of the optimizer's finished steps.
            arrays: Arrays by name.

        Raises:
            OSError: The file cannot be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with (
            replacing(self._path(step), shared=True) as unfinished,
            unfinished.open("wb") as file,
        ):
            np.savez(file, **arrays)  # type: ignore[arg-type]
        for old in self._paths()[_KEEP:]:
            old.unlink(missing_ok=True)

    def load(self, step: int, expected: dict[str, tuple[int, ...]]) -> dict | None:
        """Reads the backup of a step.

        Args:
            step: Number of the optimizer's finished steps.
            expected: Shapes of the arrays by name.

        Returns:
            Arrays by name, or None if there are no backups. None with a warning if
            the backup of this step is missing or damaged.
        """
        path = self._path(step)
        if not path.is_file():
            found = [p.name for p in self._paths()]
            if found:
                self._warn(f"belongs to step {step}, as the model does: {found}")
            return None
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # zipfile and NumPy raise many types
            self._warn(f"can be read: {path.name} is damaged ({error})")
            return None
        if {name: a.shape for name, a in arrays.items()} != expected:
            self._warn(f"belongs to this model: {path.name} has other weights")
            return None
        return arrays

    def clear(self) -> None:
        """Deletes all backups."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _warn(self, reason: str) -> None:
        warnings.warn(
            "The moving average starts over from the model's weights: no backup in "
            f"{self._directory} {reason}",
            stacklevel=2,
        )

    def _path(self, step: int) -> Path:
        return self._directory / f"average-{step:09d}.npz"

    def _paths(self) -> list[Path]:
        """Lists the backups, the latest first."""
        if not self._directory.is_dir():
            return []
        found = [p for p in self._directory.iterdir() if _NAME.fullmatch(p.name)]
        return sorted(found, reverse=True)
