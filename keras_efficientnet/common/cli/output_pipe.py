"""Standard output into a pipe whose reader may exit first, as `head` does."""

from __future__ import annotations

import io
import os
import stat
from typing import Any


class PipeWriter(io.FileIO):
    """Writer to a pipe that discards output once the reader has exited.

    A `BrokenPipeError` would end the command with a traceback, and its message would
    look like a full disk. The command continues, because its files are still needed.
    """

    def write(self, data: Any) -> int:
        """Writes to the pipe, or to the null device once its reader has exited."""
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return super().write(data)


def survive_closed_pipe(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Returns the stream, or for a pipe a replacement that tolerates a closed reader.

    Args:
        stream: Standard output or standard error.
    """
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no descriptor, or closed
        return stream
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stream
    stream.flush()
    writer = PipeWriter(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(writer),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
