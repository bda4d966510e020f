"""Standard streams of the commands, and messages printed to them."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from typing import Any

from ..plain_text import printable
from .output_pipe import survive_closed_pipe

_NAMES = ("stdin", "stdout", "stderr")


def prepare_streams() -> None:
    """Makes the standard streams safe to use; call it first.

    Closed streams (`2>&-`, a service without a terminal) are redirected to the null
    device; otherwise a file opened later would take over their number and receive their
    output. Characters that the output's encoding lacks are written as escapes.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # Opens the lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, _null_stream("r" if name == "stdin" else "w"))
    for name in _NAMES[1:]:
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, survive_closed_pipe(stream))


def leave_terminal() -> None:
    """Redirects the standard streams to the null device, unless they are files.

    Call it after the terminal has closed: writing to it, or to a pipe whose reader has
    exited, would raise an error.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(len(_NAMES)):
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(os.fstat(number).st_mode):
                os.dup2(null, number)
    os.close(null)


def report(text: object) -> None:
    """Prints text to standard error, without control characters."""
    print(lines(text), file=sys.stderr, flush=True)


def lines(text: object) -> str:
    """Escapes all control characters of a text except line feeds."""
    return "\n".join(map(printable, str(text).split("\n")))


def _null_stream(mode: str) -> Any:
    return open(os.devnull, mode, encoding="utf-8")
