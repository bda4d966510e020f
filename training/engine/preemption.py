"""Graceful interruption by signals."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from keras_efficientnet.common.cli import console

# Sent when the terminal or connection of the run closes; does not exist on Windows.
_HANG_UP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(filter(None, (signal.SIGTERM, signal.SIGINT, _HANG_UP)))


class Interrupted(KeyboardInterrupt):
    """A signal has stopped the run, which can be resumed."""


class SignalHandler:
    """Handles SIGTERM, SIGINT and SIGHUP inside a block. A context manager.

    A signal raises `Interrupted` at once, except inside `postponed`, where the loop
    checks `requested` between two steps. A second SIGINT ends the process. Outside the
    main thread, where Python delivers no signals, the handler does nothing. SIGHUP
    stays ignored under `nohup`.

    Attributes:
        requested: Name of the received signal, such as "SIGTERM"; empty if none.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._is_postponed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (number, signal.getsignal(number)) != (_HANG_UP, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """Postpones signals inside a block; `requested` records a received one."""
        yield from self._switch(True)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets signals raise at once again, for a block inside `postponed`.

        Raises:
            Interrupted: A signal arrived inside the block or before it.
        """
        self.check()
        yield from self._switch(False)

    def check(self) -> None:
        """Checks that no signal has been received.

        Raises:
            Interrupted: A signal has been received.
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
        if number == _HANG_UP:
            console.leave_terminal()
        if not self._is_postponed:
            self.check()
        print(
            f"{self.requested}: saving after this step; press Ctrl-C again to quit now",
            file=sys.stderr,
            flush=True,
        )


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Holds signals back during a block that installs its own handlers.

    Afterwards the previous handlers are back and receive the pending signals.
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
