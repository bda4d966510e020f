"""Raised recursion limit for very deep networks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

LIMIT = 10_000  # enough for 900 consecutive blocks
_lock = threading.Lock()
_inside = 0  # nested blocks over all threads: the limit belongs to the process
_before = 0


@contextlib.contextmanager
def raised_recursion_limit() -> Iterator[None]:
    """Raises Python's recursion limit so that Keras can handle networks as deep as L2.

    Keras traverses a graph recursively, one call per layer. L2 has 925 consecutive
    layers, and Python's limit of 1,000 calls includes those of the caller: what works
    in a script would fail in a notebook or under a test runner.

    The factories, `reset_classifier`, `class_maps`, the trainer and the exporter use it
    already; you need it for your own calls of Keras on such networks.

    Example:
        >>> import keras, keras_efficientnet
        >>> with raised_recursion_limit():
        ...     net = keras_efficientnet.EfficientNet(0.1, 1, 32, include_top=False)
        ...     twin = keras.models.clone_model(net)
        >>> len(twin.layers) == len(net.layers)
        True
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = sys.getrecursionlimit()
        _inside += 1
        sys.setrecursionlimit(max(_before, LIMIT))
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                sys.setrecursionlimit(_before)
