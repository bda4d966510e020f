"""Contenders of a benchmark, each in its own process."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

ROOT = Path(__file__).parent.parent


class Worker:
    """Process that reads numbers of repetitions and writes measurements as JSON."""

    def __init__(self, command: Sequence[str], core: int | None = None) -> None:
        """Starts the process.

        Args:
            command: Command line of the process.
            core: Processor core to run on. None: any.
        """
        self._command = shlex.join(command)
        cores = os.sched_getaffinity(0) if core is None else {core}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
        )

    def ask(self, repetitions: int) -> float:
        """Sends a number of repetitions and returns the measurement."""
        print(repetitions, file=self._process.stdin, flush=True)
        return self.read()

    def read(self) -> float:
        """Returns the next measurement.

        Raises:
            RuntimeError: The process has ended.
        """
        answer = cast(IO[str], self._process.stdout).readline()
        if not answer:
            raise RuntimeError(
                f"A contender stopped; to see why: echo 1 | {self._command}"
            )
        return float(json.loads(answer))

    def stop(self) -> None:
        """Ends the process."""
        self._process.communicate()
