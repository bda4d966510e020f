"""Networks with more layers in a row than Python lets functions call each other."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

LIMIT = 4000  # the deepest network of seven stages has 2,000 layers in a row


@contextlib.contextmanager
def deep_graphs() -> Iterator[None]:
    """Lets Keras build, open and change networks as deep as L2, for a block's time.

    Keras follows a graph by a function that calls itself once per layer. L2 has 925
    in a row, and Python's limit is 1,000 calls, those of the caller included: what
    works in a script would fail in a notebook or under a test runner.

    Factories, `reset_classifier`, `class_maps`, the trainer and the exporter use it
    themselves.

    Example:
        >>> import keras, keras_efficientnet
        >>> with deep_graphs():
        ...     net = keras_efficientnet.EfficientNet(0.1, 1, 32, include_top=False)
        ...     twin = keras.models.clone_model(net)
        >>> len(twin.layers) == len(net.layers)
        True
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
