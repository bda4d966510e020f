"""Process pool in which TensorFlow uses one thread per process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

POLL_S = 0.5
_MAX_MESSAGE = 4000
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def run_processes(count: int, work: Callable[..., None], arguments: Any) -> None:
    """Runs a function in several new processes, and waits for them.

    Args:
        count: Number of processes.
        work: Function to run; must be importable by name.
        arguments: Arguments of `work`; must be picklable.

    Raises:
        RuntimeError: A process failed; the others are terminated.
    """
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    children = [
        context.Process(target=_guarded, args=(errors, work, arguments))
        for _ in range(count)
    ]
    try:
        with _one_thread():
            for child in children:
                child.start()
        while any(child.is_alive() for child in children):
            if any(child.exitcode for child in children):
                break
            time.sleep(POLL_S)
    finally:
        for child in children:
            if child.is_alive():
                child.terminate()
        for child in children:
            child.join()
    if not errors.empty():
        raise RuntimeError(errors.get())
    codes = [child.exitcode for child in children if child.exitcode]
    if codes:
        raise RuntimeError(f"A process of the study ended with exit code {codes[0]}")


def is_orphan() -> bool:
    """Returns whether this is a child of `run_processes` whose parent has exited."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _guarded(errors: Any, work: Callable[..., None], arguments: Any) -> None:
    try:
        work(*arguments)
    except KeyboardInterrupt:
        sys.exit(1)
    except Exception as error:
        # A pipe buffers at most 64 kB, and nothing reads it before this process ends.
        errors.put(f"{type(error).__name__}: {error}"[:_MAX_MESSAGE])
        sys.exit(1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
