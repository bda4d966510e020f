"""Checkpoints: arrays in a folder, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Set

import numpy as np

_NAME = re.compile(r"step-(\d+)\.npz")


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Writes a file whole or not at all.

    Args:
        path: Of the file; an older one gives way at the end of the block only.

    Yields:
        Where to write: a file beside it, with the same suffixes. It is removed when
        the block fails, and overwritten by the next attempt when the process dies.

    Raises:
        OSError: It could not be written, for lack of space or of rights.
    """
    unfinished = path.with_name(f"unfinished.{path.name}")
    try:
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{path} could not be written: {error.strerror or error}"
            raise OSError(error.errno or errno.EIO, reason) from error
        raise
    with contextlib.suppress(OSError):  # some network file systems cannot
        _sync(path.parent)


def check_space(folder: pathlib.Path, size: int) -> None:
    """Checks that a file of some bytes fits into a folder.

    Args:
        folder: Where it will be.
        size: Of its content, bytes.

    Raises:
        OSError: It does not fit.
    """
    if shutil.disk_usage(folder).free < 1.1 * size + (1 << 20):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


class Checkpoints:
    """The latest checkpoints of a run: files `step-STEP.npz`, as `numpy.savez` makes.

    Each array carries a CRC-32 in the file, which is checked before it is used.

    Args:
        directory: Need not exist before the first is saved.
        keep: How many of the latest stay.
    """

    def __init__(self, directory: pathlib.Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def save(
        self, step: int, arrays: Mapping[str, Callable[[], np.ndarray]]
    ) -> pathlib.Path:
        """Writes a checkpoint, then removes those that are too many.

        Args:
            step: Finished steps.
            arrays: Name -> what returns the array; they are read and written one by
                one, so that no second copy of the state is in memory.

        Returns:
            Its path.
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

    def restore(self, assign: Mapping[str, Callable[[np.ndarray], object]]) -> int:
        """Reads the latest checkpoint that is whole; warns of those that are not.

        Args:
            assign: Name -> what takes the array. None is called before the whole
                file has been found good.

        Returns:
            Check sum of what was read; 0 when there is no checkpoint.

        Raises:
            ValueError: There are checkpoints, and none is whole.
        """
        paths = self._paths()
        for path in paths:
            try:
                check_sum = _check(path, assign.keys())
            except Exception as error:  # zipfile raises half a dozen kinds
                warnings.warn(
                    f"{path} is damaged ({error}); taking the one before", stacklevel=2
                )
                continue
            with np.load(path) as arrays:
                for name, take in assign.items():
                    take(arrays[name])
            return check_sum
        if paths:
            raise ValueError(
                f"`workdir` must hold a checkpoint that can be read; none of the "
                f"{len(paths)} in {self._directory} can"
            )
        return 0

    def _paths(self) -> list[pathlib.Path]:
        """Returns those there are, the latest first."""
        if not self._directory.is_dir():
            return []
        steps = {
            int(match[1]): path
            for path in self._directory.iterdir()
            if (match := _NAME.fullmatch(path.name))
        }
        return [steps[step] for step in sorted(steps, reverse=True)]


def _check(path: pathlib.Path, names: Set[str]) -> int:
    """Reads a whole checkpoint for its check sums; returns a sum of them."""
    with zipfile.ZipFile(path) as file:
        found = {i.filename.removesuffix(".npy"): i.CRC for i in file.infolist()}
        missing = sorted(names - found.keys())
        if missing or len(found) > len(names):
            raise ValueError(f"it does not have the arrays of this run: {missing[:3]}")
        bad = file.testzip()
        if bad:
            raise zipfile.BadZipFile(f"wrong check sum of {bad}")
    return zlib.crc32(repr(sorted(found.items())).encode())


def _sync(path: pathlib.Path) -> None:
    """Waits until a file, or the list of a folder's files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
