"""Contenders of a benchmark, each in its own process."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

ROOT = Path(__file__).parent.parent


class Worker:
    """Process that reads numbers of repetitions and writes measurements as JSON."""

    def __init__(
        self,
        command: Sequence[str],
        cores: Iterable[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process.

        Args:
            command: Command line of the process.
            cores: Processor cores to run on. None: any.
            environment: Environment variables to set besides those of this process.
        """
        self._command = shlex.join(command)
        cores = os.sched_getaffinity(0) if cores is None else set(cores)
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115, see `stop`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                **(environment or {}),
            },
            preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
        )

    def ask(self, repetitions: int) -> float:
        """Sends a number of repetitions and returns the measurement."""
        return float(self.request(repetitions))

    def request(self, message: object) -> Any:
        """Sends a message and returns the answer, both JSON.

        Raises:
            RuntimeError: The process has ended.
        """
        text = json.dumps(message)
        with contextlib.suppress(BrokenPipeError):
            print(text, file=self._process.stdin, flush=True)
        return self._answer(text)

    def read(self) -> float:
        """Returns the next measurement.

        Raises:
            RuntimeError: The process has ended.
        """
        return float(self._answer("1"))

    def _answer(self, message: str) -> Any:
        answer = cast(IO[str], self._process.stdout).readline()
        if not answer:
            raise RuntimeError(
                "A contender stopped; to see why: "
                f"echo {shlex.quote(message)} | {self._command}"
            )
        return json.loads(answer)

    def stop(self) -> str:
        """Ends the process and returns the last line of its messages."""
        self._process.communicate()
        with self._messages as file:
            file.seek(0)
            return (file.read().strip().splitlines() or [""])[-1]


def serve_seconds(run: Callable[[int], object]) -> None:
    """Answers a `Worker`: reads numbers of repetitions, runs them, writes seconds.

    Args:
        run: Function that does so many repetitions and waits for the last one.
    """
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(json.dumps(time.perf_counter() - start), flush=True)


def measure_rates(
    workers: Mapping[str, Worker], items: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Lets workers take turns, then stops them.

    Args:
        workers: Workers by name; they answer in seconds.
        items: Number of items that one step processes.
        steps: Number of steps of a worker in each round.
        rounds: Number of rounds.

    Returns:
        Items per second in each round, by name.
    """
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            rates[name].append(items * steps / worker.ask(steps))
    for worker in workers.values():
        worker.stop()
    return rates
