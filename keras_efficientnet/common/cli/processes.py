"""Processes of a command: SIGTERM, and worker processes with one thread each."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator

_MIB = 1 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # source: glibc, malloc/malloc.h


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM, which schedulers send, raise KeyboardInterrupt as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start_worker() -> None:
    """Prepares a worker process: one thread, no GPU, and its end with its parent.

    Call it before TensorFlow starts its threads. Without it, a worker whose parent was
    killed would wait for work for ever. Freed arrays stay in the process for reuse,
    because getting their memory anew for every image costs a tenth of the throughput.
    """
    os.environ.update(
        TF_NUM_INTRAOP_THREADS="1",
        TF_NUM_INTEROP_THREADS="1",
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="-1",
    )
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, 32 * _MIB)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, 512 * _MIB)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def return_freed_arrays() -> None:
    """Makes freed arrays of 1 MiB or more leave the process.

    By default, the C library of Linux keeps them on its heap, where they leave holes.
    """
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, _MIB)


def _call_glibc(name: str, *arguments: int) -> None:
    """Calls a function of glibc; where there is none, does nothing."""
    if os.name == "posix" and hasattr(library := ctypes.CDLL(None), name):
        getattr(library, name)(*arguments)


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
