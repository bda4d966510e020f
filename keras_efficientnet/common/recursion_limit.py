"""Networks with more layers in a row than Python lets functions call each other."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

LIMIT = 10_000  # 900 blocks in a row
_lock = threading.Lock()
_inside = 0  # blocks, of all threads: the limit is the process's
_before = 0


@contextlib.contextmanager
def raised_recursion_limit() -> Iterator[None]:
    """Lets Keras build, open and change networks as deep as L2, for a block's time.

    Keras follows a graph by a function that calls itself once per layer. L2 has 925
    in a row, and Python's limit is 1,000 calls, those of the caller included: what
    works in a script would fail in a notebook or under a test runner.

    Factories, `reset_classifier`, `class_maps`, the trainer and the exporter use it
    themselves.

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
