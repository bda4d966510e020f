"""Pool of LiteRT interpreters that classify images in parallel threads."""

from __future__ import annotations

import concurrent.futures
import os
import queue
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class InterpreterPool:
    """Interpreters of one model with one input and one output; it is thread-safe.

    An interpreter has one set of tensors and releases Python's global lock while it
    computes. Interpreters with one thread each, on different images, use several
    processors better than one interpreter with several threads.

    Args:
        open_interpreter: Function that returns an interpreter with allocated tensors.
        size: Number of interpreters.

    Attributes:
        input: Details of the input tensor, from the interpreter.
        output: Details of the output tensor.
    """

    def __init__(self, open_interpreter: Callable[[], Any], size: int = 1) -> None:
        interpreters = [open_interpreter() for _ in range(size)]
        (self.input,) = interpreters[0].get_input_details()
        (self.output,) = interpreters[0].get_output_details()
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._idle.put(interpreter)
        self._threads = (
            concurrent.futures.ThreadPoolExecutor(size) if size > 1 else None
        )

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the model on each input.

        Args:
            inputs: Values of the input tensor, each of its shape and type.

        Returns:
            Values of the output tensor, one per input.
        """
        if self._threads is None:
            return [self._run(values) for values in inputs]
        return list(self._threads.map(self._run, inputs))

    def _run(self, values: np.ndarray) -> np.ndarray:
        interpreter = self._idle.get()
        try:
            interpreter.set_tensor(self.input["index"], values)
            interpreter.invoke()
            found: np.ndarray = interpreter.get_tensor(self.output["index"])
            return found
        finally:
            self._idle.put(interpreter)


def usable_processors() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
