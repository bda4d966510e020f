"""Progress of a batch prediction job: images/s and time left."""

from __future__ import annotations

from collections.abc import Sequence

from keras_efficientnet.common.cli.job_progress import JobProgress

from .parts import Part


class Progress(JobProgress):
    """Prints a line on standard error at intervals, and one at the end.

    Args:
        parts: Parts of the task.
        pending: Those that are not finished.
    """

    def __init__(self, parts: Sequence[Part], pending: Sequence[Part]) -> None:
        super().__init__(sum(part.stop - part.start for part in pending))
        self._finished = len(parts) - len(pending)

    def start(self, text: str) -> None:
        """Prints what the job runs on.

        Args:
            text: Runtime and its number of workers.
        """
        skipped = f", {self._finished} parts are finished" if self._finished else ""
        super().start(f"{skipped}; runtime: {text}")
