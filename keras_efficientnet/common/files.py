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
_STALE_SECONDS = 24 * 3600  # age at which an unfinished file counts as abandoned
_REPORT_SECONDS = 3.0  # wait for a lock before a message is printed
_POLL_SECONDS = 0.1
# Some network file systems do not support locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class InUseError(ValueError):
    """Another process is using a folder."""


def cache_dir() -> Path:
    """Returns the cache folder, inside $KERAS_HOME or ~/.keras.

    Without a home folder it is in the temporary folder, like Keras' own.
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
        path: Path of the file; an existing file is replaced when the block ends.
        shared: Whether other processes may write the same file at the same time.

    Yields:
        Temporary path to write to, in the same folder and with the same suffixes. It is
        removed if the block fails. If the process dies, the next attempt overwrites it
        or, with `shared`, removes it after a day.

    Raises:
        OSError: The file cannot be written, for lack of space or permissions.
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
    """Syncs a complete file to disk and renames it; folders are only renamed.

    Args:
        unfinished: Path of the file or folder, on the same file system as `path`.
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
    """Removes abandoned temporary files of `replacing(path, shared=True)`."""
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


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], *, escaped: bool = True
) -> None:
    """Writes a CSV file atomically, in UTF-8.

    Args:
        path: Path of the file.
        rows: Dicts of column name to cell, with the same columns in each row; at least
            one.
        escaped: Whether text that looks like a formula is escaped by `csv_cell`, for
            files that people open in a spreadsheet.

    Raises:
        OSError: The file cannot be written.
    """
    with (
        replacing(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        for cells in (list(rows[0]), *(row.values() for row in rows)):
            writer.writerow(
                [csv_cell(c) if escaped and isinstance(c, str) else c for c in cells]
            )


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading; devices, pipes and folders are rejected.

    Args:
        path: Path of the file or of a link to it.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is not a regular file.
    """
    # Checked before opening, which can have side effects on a device, and after.
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
    """Reads a regular file, up to the size it had when it was opened.

    Args:
        path: Path of the file or of a link to it.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is not a regular file.
    """
    with open_regular(path) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)


def check_space(folder: Path, size: int) -> None:
    """Checks that the disk of a folder has room for a file.

    Args:
        folder: Folder of the file.
        size: Size of the file, bytes.

    Raises:
        OSError: There is not enough free space.
    """
    if shutil.disk_usage(folder).free < 1.1 * size + (1 << 20):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextlib.contextmanager
def lock(path: Path, argument: str = "workdir") -> Iterator[None]:
    """Holds a lock file, so that no other process uses its folder.

    The operating system releases the lock when the process ends, even if it is killed.
    Across machines, the shared file system must support locks; where it does not, a
    warning is issued and no process is excluded.

    Args:
        path: Path of the lock file. It is created, with its folder, and never deleted.
        argument: Name of the user's argument for the folder, for the error message.

    Raises:
        InUseError: Another process holds the lock; the message names it.
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
        # On Windows a locked file can be neither read nor written.
        with contextlib.suppress(OSError):
            text = f"process {os.getpid()} on {socket.gethostname()}\n"
            path.write_text(text, encoding="utf-8")
        yield
    finally:
        held.release()


@contextlib.contextmanager
def waiting_lock(path: Path, purpose: str) -> Iterator[bool]:
    """Waits for a lock file that another process or thread may hold, then holds it.

    The file is deleted afterwards.

    Args:
        path: Path of the lock file, in a folder that exists.
        purpose: Verb phrase for the message of a waiting process, such as "downloads
            x".

    Yields:
        Whether the file system supports locks; if not, no process is excluded.
    """
    from filelock import FileLock

    held = FileLock(path)
    with _or_without_locks(path):
        _wait(held, purpose)
    is_locked = held.is_locked
    try:
        yield is_locked
    finally:
        # Deleted while the lock is held: waiting processes notice and create it again.
        # Windows cannot delete an open file; there the empty file stays.
        with contextlib.suppress(OSError):
            path.unlink()
        held.release()


@contextlib.contextmanager
def scratch_folder(parent: Path, purpose: str) -> Iterator[Path]:
    """Creates a folder for unfinished files, and removes it when the block ends.

    Processes with the same parent folder wait for each other, and folders left behind
    by killed processes are removed.

    Args:
        parent: Existing folder that will contain it, so that finished files can be
            renamed into place.
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
    """Replaces the error of a file system without locks by a warning."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"The file system of {path.parent} has no file locks ({error}); make sure "
            "that no other process uses this folder",
            stacklevel=4,
        )


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except (OSError, ValueError):
        return "another process"
