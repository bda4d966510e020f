"""Suppression of log messages that native code writes to standard error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, cast

_FILTER = """
import sys
for line in sys.stdin.buffer:
    if b"oneDNN custom operations are on" not in line and (
        b"All log messages before absl::InitializeLog()" not in line
    ):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discards everything written to standard error, including by native code.

    TensorFlow's converter and LiteRT log there regardless of Python's log level. They
    raise exceptions for whatever matters.
    """
    with tempfile.TemporaryFile() as log, _stderr_into(log):
        yield


@contextlib.contextmanager
def hidden_startup_lines() -> Iterator[None]:
    """Hides what TensorFlow prints about oneDNN, which no log level hides.

    It is printed on processors with int8 dot products, when the libraries are loaded
    and have not read the log level yet. A process filters the standard error stream
    meanwhile, so that everything else passes, also the last words of a crash.
    """
    command = [sys.executable, "-I", "-S", "-c", _FILTER]
    try:
        os.fstat(2)
        # In a session of its own, Ctrl-C does not reach it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True
        )
    except OSError:  # there is no standard error stream, or no process can start
        yield
        return
    with process, _stderr_into(cast(IO[bytes], process.stdin)):
        yield


@contextlib.contextmanager
def _stderr_into(file: IO[bytes]) -> Iterator[None]:
    """Writes standard error to a file, which is closed afterwards."""
    _flush()
    saved = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, 2)
        os.close(saved)
        file.close()


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
