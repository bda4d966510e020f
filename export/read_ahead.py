"""Reads image files in threads, ahead of the model."""

from __future__ import annotations

import collections
import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.litert.interpreters import usable_processors
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops
from keras_efficientnet.preprocessing.tf_files import (
    BATCH_SIZE,
    compile_eval_image,
    read_image,
)

Outcome = np.ndarray | ValueError  # pixels, or why the file cannot be read
_AHEAD = 2 * BATCH_SIZE  # images that wait for the model


def read_ahead(
    paths: Sequence[Path], spec: EvalPreprocessing, channels: int
) -> Iterator[list[tuple[Path, Outcome]]]:
    """Reads and preprocesses images in threads.

    Args:
        paths: Paths of the images.
        spec: Crop, size and resize method.
        channels: See `tf_files.read_image`.

    Yields:
        At most `BATCH_SIZE` paths and their pixels or errors, in the order of `paths`.
    """
    # Tracing takes longer than a few images.
    is_short = len(paths) <= BATCH_SIZE
    eval_image = tf_ops.eval_image if is_short else compile_eval_image(spec)
    read = functools.partial(_read, spec, channels, eval_image)
    pool = concurrent.futures.ThreadPoolExecutor(usable_processors())
    waiting: collections.deque[Any] = collections.deque()
    try:
        submitted = 0
        for start in range(0, len(paths), BATCH_SIZE):
            batch = paths[start : start + BATCH_SIZE]
            while submitted < min(len(paths), start + len(batch) + _AHEAD):
                waiting.append(pool.submit(read, paths[submitted]))
                submitted += 1
            yield [(path, waiting.popleft().result()) for path in batch]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(
    spec: EvalPreprocessing,
    channels: int,
    eval_image: Callable[..., Any],
    path: Path,
) -> Outcome:
    try:
        return read_image(path, spec, channels, eval_image)
    except ValueError as error:
        return error
