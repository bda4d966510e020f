"""Cache folder, atomic writes and file locks."""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .plain_text import csv_cell

if TYPE_CHECKING:
    from filelock import BaseFileLock

_UNFINISHED = "unfinished."
_SCRATCH = ".unfinished-"
_STALE_SECONDS = 24 * 3600  # age of an unfinished file that nobody writes any more
_REPORT_SECONDS = 3.0  # of waiting for a lock without a word
_POLL_SECONDS = 0.1
# Some network file systems have no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class InUseError(ValueError):
    """Another process works in a folder."""


def cache_dir() -> Path:
    """Returns the folder of downloads and measurements: in $KERAS_HOME or ~/.keras.

    Without a home folder it is in the folder for temporary files, as Keras' own is.
    """
    home = os.environ.get("KERAS_HOME")
    try:
        folder = Path(home or "~/.keras").expanduser()
    except RuntimeError:  # a container's user may have no home
        folder = Path(tempfile.gettempdir()) / ".keras"
    return folder / "keras_efficientnet"


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Writes a file atomically: readers see the old file or the complete new one.

    Args:
        path: Path of the file; an existing one is replaced at the end of the block.
        shared: Whether other processes may write the same file at the same time.

    Yields:
        Path to write to: a file in the same folder, with the same suffixes. It is
        removed when the block fails. If the process dies, the next attempt replaces
        it or, with `shared`, removes it a day later.

    Raises:
        OSError: The file cannot be written, for lack of space or of rights.
    """
    token = f"{os.urandom(4).hex()}." if shared else ""
    if shared:
        _remove_stale(path)
    unfinished = path.with_name(f"{_UNFINISHED}{token}{path.name}")
    try:
        yield unfinished
        publish(unfinished, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = f"{path} could not be written: {error.strerror or error}"
            raise OSError(error.errno or errno.EIO, reason) from error
        raise


def publish(unfinished: Path, path: Path) -> None:
    """Renames a complete file or folder once its content is on the disk.

    Args:
        unfinished: Path of the file or folder, in the file system of `path`.
        path: Final path; an existing file is replaced.

    Raises:
        OSError: The file cannot be written or renamed.
    """
    if unfinished.is_file():
        with unfinished.open("rb+") as file:  # Windows syncs writable files only
            os.fsync(file.fileno())
    os.replace(unfinished, path)
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_stale(path: Path) -> None:
    """Removes files of `replacing(path, shared=True)` whose processes have died."""
    ours = re.compile(rf"{_UNFINISHED}[0-9a-f]{{8}}\.{re.escape(path.name)}")
    with contextlib.suppress(OSError):
        for found in path.parent.iterdir():
            is_old = time.time() - found.lstat().st_mtime > _STALE_SECONDS
            if ours.fullmatch(found.name) and is_old:
                found.unlink()


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Writes a text file atomically, in UTF-8.

    Args:
        path: Path of the file.
        text: Content of the file.
        shared: See `replacing`.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path, shared=shared) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes a CSV file atomically, in UTF-8.

    Args:
        path: Path of the file.
        rows: Dicts of column name to cell, with the same columns in each row; at least
            one. See `csv_cell` for texts that look like formulas.

    Raises:
        OSError: The file cannot be written.
    """
    with (
        replacing(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        for cells in (list(rows[0]), *(row.values() for row in rows)):
            writer.writerow([csv_cell(c) if isinstance(c, str) else c for c in cells])


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading, unless it is a device, a pipe or a folder.

    Args:
        path: Path of the file, which may be a link to one.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is not a regular file.
    """
    # Before it is opened, which devices may notice, and afterwards.
    is_regular = stat.S_ISREG(path.stat().st_mode)
    with contextlib.ExitStack() as stack:
        if is_regular:
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
            handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
            stream = stack.enter_context(os.fdopen(handle, "rb"))
            is_regular = stat.S_ISREG(os.fstat(handle).st_mode)
        if not is_regular:
            raise ValueError(f"{path.name} must be a regular file")
        stack.pop_all()
        return stream


def read_regular(path: Path) -> bytes:
    """Reads a regular file up to the size that it has when it is opened.

    Args:
        path: Path of the file, which may be a link to one.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is not a regular file.
    """
    with open_regular(path) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)


def check_space(folder: Path, size: int) -> None:
    """Checks that a file fits into a folder.

    Args:
        folder: Folder of the file.
        size: Size of the file, bytes.

    Raises:
        OSError: The file does not fit.
    """
    if shutil.disk_usage(folder).free < 1.1 * size + (1 << 20):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextlib.contextmanager
def lock(path: Path, argument: str = "workdir") -> Iterator[None]:
    """Holds a lock file, so that no other process works in its folder.

    The system releases it when the process ends, however it ends. Between machines it
    holds as far as the shared file system supports locks; where there are none, a
    warning says so, and nobody is excluded.

    Args:
        path: Path of the lock file; made, with its folder, if needed. It stays.
        argument: Name of the argument that named the folder, for the error.

    Raises:
        InUseError: Another process holds it; the message says which.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        reason = f"`{argument}` must be a folder. Received: {path.parent}"
        raise NotADirectoryError(errno.ENOTDIR, reason) from error
    held = FileLock(path)
    try:
        with _or_without_locks(path):
            held.acquire(blocking=False)
    except Timeout as error:
        raise InUseError(
            f"`{argument}` must not be in use: {path.parent} is held by {_holder(path)}"
        ) from error
    try:
        # Windows lets nobody write to, or read, a locked file.
        with contextlib.suppress(OSError):
            text = f"process {os.getpid()} on {socket.gethostname()}\n"
            path.write_text(text, encoding="utf-8")
        yield
    finally:
        held.release()


@contextlib.contextmanager
def waiting_lock(path: Path, purpose: str) -> Iterator[bool]:
    """Holds a lock file, after waiting for the process or thread that holds it.

    The file exists only while the lock is wanted.

    Args:
        path: Path of the lock file, in a folder that exists.
        purpose: What the holder does, for the message of a process that waits long.

    Yields:
        Whether the file system has locks; without, nobody is excluded.
    """
    from filelock import FileLock

    held = FileLock(path)
    with _or_without_locks(path):
        _wait(held, purpose)
    is_locked = held.is_locked
    try:
        yield is_locked
    finally:
        # While it is held: a waiting process notices, and makes the file anew. Windows
        # does not delete an open file, and need not: it is empty.
        with contextlib.suppress(OSError):
            path.unlink()
        held.release()


@contextlib.contextmanager
def scratch_folder(parent: Path, purpose: str) -> Iterator[Path]:
    """Makes a folder for unfinished files, and removes it at the end of the block.

    Processes that work in the same place wait for each other, and those of killed
    processes are removed.

    Args:
        parent: Existing folder to make it in, so that files can be renamed into that.
        purpose: See `waiting_lock`.

    Yields:
        The empty folder.
    """
    with waiting_lock(parent / ".lock", purpose) as is_locked:
        for left in parent.glob(f"{_SCRATCH}*") if is_locked else ():
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=_SCRATCH) as name:
            yield Path(name)


def _wait(held: BaseFileLock, purpose: str) -> None:
    from filelock import Timeout

    try:
        held.acquire(timeout=_REPORT_SECONDS, poll_interval=_POLL_SECONDS)
    except Timeout:
        print(f"Another process {purpose}: waiting for it.", file=sys.stderr)
        held.acquire(timeout=-1, poll_interval=_POLL_SECONDS)


@contextlib.contextmanager
def _or_without_locks(path: Path) -> Iterator[None]:
    """Turns the error of a file system without locks into a warning."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"The file system of {path.parent} has no file locks ({error}): make sure "
            "that no other process works in this folder",
            stacklevel=4,
        )


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
