"""Communication of the workers of a run: gathered values, shared errors, barriers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import tensorflow as tf

from ..preemption import Interrupted
from .rendezvous import WorkerLostError
from .tasks import name_tasks

_T = TypeVar("_T")
_LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)
# Errors that are raised on all workers, the more specific ones first.
_SHARED_ERRORS: dict[str, type[BaseException]] = {
    "interrupted": Interrupted,
    "lost": WorkerLostError,
    "value": ValueError,
    "import": ImportError,
    "arithmetic": FloatingPointError,
    "os": OSError,
}
_SHOWN = 5  # differences named in an error


class Workers:
    """Processes that share a run.

    Args:
        used_strategy: Strategy of the run.

    Attributes:
        names: Names of the workers, such as "worker 0", the chief first.
        index: Index of this worker among them.
    """

    def __init__(self, used_strategy: tf.distribute.Strategy) -> None:
        self.names, self.index = _place(used_strategy)
        replicas = used_strategy.num_replicas_in_sync // self.count
        workers, index = self.count, self.index

        def replica_sum(numbers: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # Only the first replica of each worker contributes.
            speaks = context.replica_id_in_sync_group == index * replicas
            row = tf.one_hot(index, workers, dtype=tf.int32)[:, tf.newaxis]
            return context.all_reduce("SUM", row * numbers * tf.cast(speaks, tf.int32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def gather(numbers: tf.Tensor) -> tf.Tensor:
            rows = used_strategy.run(replica_sum, (numbers,))
            return used_strategy.experimental_local_results(rows)[0]

        self._gather = gather

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.names)

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes files."""
        return self.index == 0

    def gather(self, *numbers: int) -> np.ndarray:
        """Waits for all workers, and returns the numbers of each.

        Args:
            *numbers: Numbers under 2**31, the same count on every worker.

        Returns:
            (workers, numbers), int.
        """
        if self.count == 1:
            return np.array([numbers])
        return self._gather(tf.constant(numbers, tf.int32)).numpy()

    def gather_text(self, text: str) -> list[str]:
        """Waits for all workers, and returns the text of each."""
        if self.count == 1:
            return [text]
        data = np.frombuffer(text.encode(), np.uint8)
        lengths = self.gather(len(data))[:, 0]
        if not lengths.any():
            return [""] * self.count
        padded = np.zeros(lengths.max(), np.int32)
        padded[: len(data)] = data
        rows = self.gather(*padded.tolist()).astype(np.uint8)
        return [
            row[:length].tobytes().decode()
            for row, length in zip(rows, lengths, strict=True)
        ]

    def wait(self) -> None:
        """Waits until all workers have reached this point."""
        self.gather(0)

    def together(self, action: Callable[[], _T]) -> _T:
        """Runs an action on every worker, and waits until all have finished it.

        If it fails on one worker, all raise that error, so that none continues alone.

        Args:
            action: Function to call.

        Returns:
            Result of `action` on this worker.
        """
        if self.count == 1:
            return action()
        error: BaseException | None = None
        try:
            result = action()
        except (Exception, Interrupted) as caught:
            error = caught
        try:
            failures = self.gather_text(_pack(error))
        finally:
            if error is not None:
                raise error
        for name, packed in zip(self.names, failures, strict=True):
            if packed:
                raise _unpack(packed, name)
        return result

    def by_chief(self, write: Callable[[], object]) -> None:
        """Lets the chief write files, and waits until others may read them.

        Args:
            write: Function to call on the chief; its error is raised on all workers.
        """
        self.together(write if self.is_chief else lambda: None)

    def check_equal(self, what: str, facts: Mapping[str, str]) -> None:
        """Checks that all workers have the same facts as the chief.

        Args:
            what: Subject of the facts, such as "configuration".
            facts: Value of each fact by its name.

        Raises:
            ValueError: They differ; the message names the facts and the workers.
        """
        rows = [json.loads(text) for text in self.gather_text(json.dumps(facts))]
        found = [
            f"{name} is {row.get(name)} on {worker} and {rows[0].get(name)} on "
            f"{self.names[0]}"
            for worker, row in zip(self.names, rows, strict=True)
            for name in rows[0] | row
            if row.get(name) != rows[0].get(name)
        ]
        if found:
            more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
            raise ValueError(
                f"All workers must have the same {what}. "
                f"Received: {'; '.join([*found[:_SHOWN], *more])}"
            )


def explain_loss(error: tf.errors.OpError) -> str | None:
    """Explains TensorFlow's error about a lost worker.

    Args:
        error: Error of a step under "multi_worker".

    Returns:
        One line; None if the error has another cause.
    """
    about = ("ollective", "task:", "heartbeat", "oordination")
    if not (isinstance(error, _LOSSES) and any(word in str(error) for word in about)):
        return None
    tasks = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
    names = sorted({f"{job} {number}" for job, number in tasks})
    return f"Lost contact with {' and '.join(names) or 'a worker'}"


@contextlib.contextmanager
def naming_lost_workers(workers: Workers) -> Iterator[None]:
    """Turns TensorFlow's error about a lost worker into a readable one.

    Args:
        workers: Workers of the run.
    """
    try:
        yield
    except tf.errors.OpError as error:
        lost = explain_loss(error) if workers.count > 1 else None
        if lost is None:
            raise
        raise WorkerLostError(
            f"{lost}; start all workers again to resume from the latest checkpoint"
        ) from error


def _place(used_strategy: tf.distribute.Strategy) -> tuple[list[str], int]:
    """Returns the names of the workers and the index of this one."""
    resolver = used_strategy.cluster_resolver
    kind = tf.distribute.MultiWorkerMirroredStrategy
    if not isinstance(used_strategy, kind) or resolver is None:
        return ["worker 0"], 0
    names = list(name_tasks(resolver.cluster_spec().as_dict()))
    # Without a cluster, TensorFlow treats this process as the only worker.
    if not names:
        return ["worker 0"], 0
    return names, names.index(f"{resolver.task_type} {resolver.task_id}")


def _pack(error: BaseException | None) -> str:
    if error is None:
        return ""
    kinds = [k for k, kind in _SHARED_ERRORS.items() if isinstance(error, kind)]
    number = getattr(error, "errno", None)
    text = str(getattr(error, "strerror", None) or error)
    return json.dumps([kinds[0] if kinds else "lost", number, text])


def _unpack(packed: str, worker: str) -> BaseException:
    kind, number, text = json.loads(packed)
    reason = f"{worker}: {text}"
    if kind == "os" and number is not None:
        return OSError(number, reason)
    return _SHARED_ERRORS[kind](reason)
