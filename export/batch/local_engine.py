"""Local engine: threads around TensorFlow, or processes with one thread each."""

from __future__ import annotations

import collections
import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.processes import start_worker

from .options import ModelOptions
from .parts import Range
from .rows import Rows

if TYPE_CHECKING:
    from .classifier import Classifier

T = TypeVar("T")

_AHEAD = 4  # ranges per worker that are submitted before the first is finished
_state: dict[str, Classifier] = {}  # of a worker process


def predict_in_threads(
    classifier: Classifier, ranges: Sequence[Range], threads: int
) -> Iterator[Rows]:
    """Predicts ranges in this process; threads decode images ahead of the model.

    Args:
        classifier: Loaded model.
        ranges: Ranges of the listing.
        threads: Number of threads that decode.

    Yields:
        Rows of each range, in order.
    """
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        # The decoded pixels of two ranges per thread may wait for the model.
        for decoded in _in_order(pool, classifier.decode, ranges, 2 * threads):
            yield classifier.classify(decoded)
    finally:
        pool.shutdown(cancel_futures=True)


def predict_in_processes(
    options: ModelOptions,
    listing_folder: Path,
    ranges: Sequence[Range],
    processes: int,
) -> Iterator[Rows]:
    """Predicts ranges in worker processes that each decode and classify.

    Args:
        options: Model, and what to predict.
        listing_folder: Folder of the listing.
        ranges: Ranges of the listing.
        processes: Number of processes.

    Yields:
        Rows of each range, in order.

    Raises:
        RuntimeError: A worker process was killed, or cannot load the model.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        min(processes, len(ranges)),
        multiprocessing.get_context("spawn"),
        _start_worker,
        (options, listing_folder),
    )
    try:
        yield from _in_order(pool, _predict_range, ranges, _AHEAD * processes)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise RuntimeError(
            "A worker process has ended unexpectedly, perhaps for lack of memory; "
            "use fewer `workers`. The same command resumes after the finished parts"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: concurrent.futures.Executor,
    function: Callable[[int, int], T],
    ranges: Sequence[Range],
    ahead: int,
) -> Iterator[T]:
    """Maps ranges through a pool with a bounded number of unfinished ones."""
    waiting: collections.deque[concurrent.futures.Future[T]] = collections.deque()
    for first, last in ranges:
        waiting.append(pool.submit(function, first, last))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start_worker(options: ModelOptions, listing_folder: Path) -> None:
    start_worker()  # before TensorFlow is imported
    from .classifier import open_classifier

    try:
        _state["classifier"] = open_classifier(options, listing_folder)
    except (ValueError, OSError, ImportError) as error:
        console.report(f"Error: {error}")
        os._exit(1)


def _predict_range(first: int, last: int) -> Rows:
    return _state["classifier"](first, last)
