"""Graceful interruption by signals."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A run was told to end, and can be resumed."""


class Interrupts:
    """Takes SIGTERM and SIGINT for the time of a block. A context manager.

    They raise `Interrupted` at once, but not inside `postponed`: there the loop asks
    for `requested` between two steps. A second SIGINT ends the process. Outside the
    main thread, where Python takes no signals, nothing is done.

    Attributes:
        requested: Name of the signal that has come, such as "SIGTERM"; empty: none.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._is_postponed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._take) for s in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Holds signals back for the time of a block; one that came is kept."""
        yield from self._switch(True)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raises at signals again, inside `postponed`.

        Raises:
            Interrupted: A signal has come, now or before.
        """
        self.check()
        yield from self._switch(False)

    def check(self) -> None:
        """Raises if a signal has come.

        Raises:
            Interrupted: One has.
        """
        if self.requested:
            raise Interrupted(self.requested)

    def _switch(self, is_postponed: bool) -> Iterator[None]:
        before = self._is_postponed
        self._is_postponed = is_postponed
        try:
            yield
        finally:
            self._is_postponed = before

    def _take(self, number: int, frame: object) -> None:
        del frame
        self.requested = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        if not self._is_postponed:
            self.check()
        print(
            f"{self.requested}: saving after this step; Ctrl-C once more quits at once",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Holds signals back for the time of a block that puts its own handlers in place.

    Afterwards the handlers from before are back, and take what came meanwhile.
    """
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {s: signal.getsignal(s) for s in SIGNALS} if is_main else {}
    can_hold = hasattr(signal, "pthread_sigmask")  # not on Windows
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if can_hold else set()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if can_hold:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
