"""Progress of a long job on standard error: images/s and time left."""

from __future__ import annotations

import sys
import time

from . import console

_SECONDS = 10.0  # between two lines


class JobProgress:
    """Prints a line on standard error at intervals, and one at the end.

    Args:
        total: Number of images of this session.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        # Time and images of the first result: what precedes it, mostly the start of
        # the workers, would distort the rate.
        self._first: tuple[float, int] | None = None
        self._start = self._reported = self._last = time.monotonic()

    def start(self, text: str) -> None:
        """Prints the number of images and starts the clock.

        Args:
            text: Text after "N images".
        """
        console.report(f"{self._total:,} images{text}")
        self._start = self._reported = time.monotonic()

    def add(self, images: int) -> None:
        """Counts finished images.

        Args:
            images: Number of images.
        """
        self._done += images
        now = self._last = time.monotonic()
        self._first = self._first or (now, images)
        if now - self._reported < _SECONDS or self._done >= self._total:
            return
        self._reported = now
        rate = self._rate(now)
        left = _duration((self._total - self._done) / rate)
        console.report(
            f"{self._done:,} of {self._total:,} images, {rate:.1f} images/s, "
            f"{left} left"
        )

    def close(self) -> None:
        """Prints the duration and the rate."""
        if self._done:
            seconds = time.monotonic() - self._start
            # The rate ends with the last result: workers take a second to exit.
            console.report(
                f"{self._done:,} images in {_duration(seconds)}, "
                f"{self._rate(self._last):.1f} images/s"
            )
        sys.stderr.flush()

    def _rate(self, now: float) -> float:
        """Returns the images/s since the first result, if there are later ones."""
        start, before = self._first or (self._start, 0)
        if self._done == before:
            start, before = self._start, 0
        return (self._done - before) / max(now - start, 1e-9)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
