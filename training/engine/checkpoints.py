"""Checkpoints of a training run: .npz files with checksums, written atomically."""

from __future__ import annotations

import hashlib
import pathlib
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Set

import h5py
import keras
import numpy as np

from keras_efficientnet.common.files import check_space, replacing

_DIGEST = "sha256"  # attribute of a weight file
_NAME = re.compile(r"step-(\d+)\.npz")


def save_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a model's weights and their digest, atomically.

    Args:
        model: Model whose weights to write.
        path: Path of the file; ends in ".weights.h5".

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as unfinished:
        # HDF5 aborts the process when the disk is full.
        check_space(path.parent, 4 * model.count_params())
        model.save_weights(unfinished)
        with h5py.File(unfinished, "r+") as file:
            file.attrs[_DIGEST] = _digest(model)


def load_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Reads a file that `save_weights` wrote.

    Args:
        model: Model of the same architecture.
        path: Path of the file. Files of earlier versions have no digest.

    Raises:
        ValueError: The file is missing or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            stated = file.attrs.get(_DIGEST)
        model.load_weights(path)
    except Exception as error:  # h5py and Keras raise many types
        is_missing = isinstance(error, FileNotFoundError)
        reason = "it is missing" if is_missing else f"it is damaged ({error})"
        raise ValueError(_unusable(path, reason)) from error
    if stated is not None and stated != _digest(model):
        raise ValueError(_unusable(path, "it is damaged (its checksum differs)"))


def _digest(model: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.value.numpy()).data)
    return digest.hexdigest()


def _unusable(path: pathlib.Path, reason: str) -> str:
    return (
        f"{path} must be the file that training wrote; {reason}. Restore it from a "
        f"copy, or delete {path.parent} to train again"
    )


class Checkpoints:
    """The latest checkpoints of a run: `numpy.savez` files named `step-STEP.npz`.

    The CRC-32 of each array is checked before it is used.

    Args:
        directory: Folder of the checkpoints; created when the first one is saved.
        keep: Number of latest checkpoints to keep.
    """

    def __init__(self, directory: pathlib.Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def save(
        self, step: int, arrays: Mapping[str, Callable[[], np.ndarray]]
    ) -> pathlib.Path:
        """Writes a checkpoint, then removes the oldest surplus ones.

        Args:
            step: Number of finished steps.
            arrays: Name -> function that returns the array. Arrays are read and
                written one by one, so that memory holds no second copy of the state.

        Returns:
            Path of the checkpoint.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"step-{step:09d}.npz"
        with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w") as file:
            for name, read in arrays.items():
                with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(read()))
        for old in self._paths()[self._keep :]:
            old.unlink()
        return path

    def restore(self, assign: Mapping[str, Callable[[np.ndarray], object]]) -> None:
        """Restores the latest intact checkpoint; warns about damaged ones.

        Args:
            assign: Name -> function that takes the array. The functions are called
                only after the entire file has been verified.

        Raises:
            ValueError: There are checkpoints, but all are damaged.
        """
        paths = self._paths()
        for path in paths:
            try:
                _check(path, assign.keys())
            except Exception as error:  # zipfile raises many types
                warnings.warn(
                    f"{path} is damaged ({error}); using the previous one", stacklevel=2
                )
                continue
            with np.load(path) as arrays:
                for name, take in assign.items():
                    take(arrays[name])
            return
        if paths:
            raise ValueError(
                "`workdir` must hold an intact checkpoint. "
                f"Received: {len(paths)} damaged, in {self._directory}"
            )

    def _paths(self) -> list[pathlib.Path]:
        """Returns the existing checkpoints, the latest first."""
        if not self._directory.is_dir():
            return []
        steps = {
            int(match[1]): path
            for path in self._directory.iterdir()
            if (match := _NAME.fullmatch(path.name))
        }
        return [steps[step] for step in sorted(steps, reverse=True)]


def _check(path: pathlib.Path, names: Set[str]) -> None:
    """Reads an entire checkpoint and compares its checksums."""
    with zipfile.ZipFile(path) as file:
        found = {i.filename.removesuffix(".npy") for i in file.infolist()}
        missing = sorted(names - found)
        if missing or len(found) > len(names):
            raise ValueError(f"it does not have the arrays of this run: {missing[:3]}")
        bad = file.testzip()
        if bad:
            raise zipfile.BadZipFile(f"wrong checksum of {bad}")
