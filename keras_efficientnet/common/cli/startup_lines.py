"""Hides the lines that TensorFlow prints while its libraries are loaded."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
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
def hidden_startup_lines() -> Iterator[None]:
    """Hides what TensorFlow prints about oneDNN, which no log level hides.

    It is printed on processors with int8 dot products, when the libraries are loaded
    and have not read the log level yet. A process filters the standard error stream
    meanwhile, so that everything else passes, also the last words of a crash.
    """
    command = [sys.executable, "-I", "-S", "-c", _FILTER]
    try:
        stream = os.dup(2)
        # In a session of its own, Ctrl-C does not reach it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True
        )
    except OSError:  # there is no standard error stream, or no process can start
        yield
        return
    with process:
        filtered = cast(IO[bytes], process.stdin)
        os.dup2(filtered.fileno(), 2)
        filtered.close()
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stream, 2)
            os.close(stream)
