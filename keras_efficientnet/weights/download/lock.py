"""A lock between processes that the operating system frees when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_SECONDS = 0.1
_TELL_SECONDS = 3.0
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
# Some network file systems have no locks.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def exclusive(path: Path, purpose: str) -> Iterator[bool]:
    """Holds a lock, after waiting for whoever holds it now.

    The file at `path` exists only while the lock is wanted. Threads exclude each other
    too.

    Args:
        path: Of the lock file, in a folder that exists.
        purpose: What the holder does, for the message of one who waits for long.

    Yields:
        False when the file system knows no locks, and nobody is excluded.
    """
    stream, locked = _acquire(path, purpose)
    try:
        yield locked
    finally:
        # While it is held: who waits finds that the file has gone, and begins anew.
        # Windows does not delete an open file, and needs not: it is empty.
        with contextlib.suppress(OSError):
            path.unlink()
        stream.close()


def _acquire(path: Path, purpose: str) -> tuple[IO[bytes], bool]:
    tell_at = time.monotonic() + _TELL_SECONDS
    while True:
        stream = path.open("ab")
        try:
            if _try_lock(stream):
                if _is_open_at(stream, path):
                    return stream, True
            elif time.monotonic() > tell_at:
                print(f"Another process {purpose}: waiting for it.", file=sys.stderr)
                tell_at = float("inf")
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return stream, False
            stream.close()
            raise
        except BaseException:
            stream.close()
            raise
        stream.close()
        time.sleep(_POLL_SECONDS)


def _try_lock(stream: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _is_open_at(stream: IO[bytes], path: Path) -> bool:
    # The former holder may have removed the file between our opening and locking it.
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False
