"""Handling of images that cannot be decoded."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.plain_text import printable

from .sources import Split

MOST = 0.01  # highest share of an epoch's images


class UnreadableImagesError(ValueError):
    """Images cannot be decoded.

    Args:
        names: Names of some of them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        shown = ", ".join(map(printable, dict.fromkeys(names)))
        super().__init__(f"Images must be readable. Received: {shown}")


@contextlib.contextmanager
def suggest_skipping(on_bad_image: str) -> Iterator[None]:
    """Mentions on_bad_image='skip' in errors about images.

    Args:
        on_bad_image: Setting of the run, "raise" or "skip".

    Raises:
        ValueError: Images cannot be decoded.
    """
    try:
        yield
    except UnreadableImagesError as error:
        if on_bad_image == "skip":
            raise
        raise ValueError(f"{error}. on_bad_image='skip' leaves them out") from error


class BadImages:
    """Skips the undecodable images of a split and records them.

    Args:
        split: Split of the images.
        found: Positions of images that earlier sessions have found.
    """

    def __init__(self, split: Split, found: Iterable[int] = ()) -> None:
        self._split = split
        inside = (position for position in found if 0 <= position < len(split))
        self._found = dict.fromkeys(inside)  # a set that keeps its order
        self._lock = threading.Lock()

    @property
    def positions(self) -> list[int]:
        """Positions of the images found so far, in the order of finding."""
        with self._lock:
            return list(self._found)

    @property
    def names(self) -> list[str]:
        """Names of the images found so far, each once, in the order of finding."""
        return [printable(self._split.names[position]) for position in self.positions]

    def check(self, images: int) -> None:
        """Checks that at most 1% of the images are undecodable.

        Args:
            images: Number of images of an epoch.

        Raises:
            ValueError: More of them are undecodable; the message names some.
        """
        names = self.names
        if len(names) > MOST * images:
            shown = ", ".join(map(printable, names[:5]))
            shown += ", ..." if len(names) > 5 else ""
            raise ValueError(
                f"At most {MOST:.0%} of the images may be undecodable under "
                f"on_bad_image='skip', {math.floor(MOST * images)} of {images}. "
                f"Received: {len(names)} undecodable images: {shown}"
            )

    def guard(
        self, example: Callable[..., Any], blank: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Wraps a function so that it returns `blank` where `example` fails.

        Args:
            example: Function from the tensors of an element, the last of which is the
                position of the image, to an example.
            blank: Function from the same tensors to an example of the same shapes.
        """

        def recorded(*element: tf.Tensor) -> Any:
            with tf.control_dependencies(
                [tf.numpy_function(self._record, [element[-1]], [])]
            ):
                return tf.nest.map_structure(tf.identity, blank(*element))

        def guarded(*element: tf.Tensor) -> Any:
            # A data set of one element serves as try and except in a graph.
            one = tf.data.Dataset.from_tensors(element)
            found = one.map(example).ignore_errors()
            found = found.concatenate(one.map(recorded)).take(1)
            return found.get_single_element()

        return guarded

    def _record(self, position: np.ndarray) -> None:
        with self._lock:
            self._found[int(position)] = None
