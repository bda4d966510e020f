"""Choice of the most confident images of each class from a stream of predictions."""

from __future__ import annotations

import numpy as np

_LEAST_WAITING = 1 << 20  # rows that are collected before the weakest are dropped


class ImageSelection:
    """Chooses the images to train on, the same number for every class.

    An image belongs to its most probable class. A class gets its most confident
    images, repeated if it has too few: `per_class` images, but no more than the
    largest class has. Memory is bounded by the number of classes times `per_class`,
    not by the number of images.

    Args:
        min_confidence: Lower bound of the highest probability of an image, exclusive.
        per_class: Number of images per class.

    Source:
        arXiv:1911.04252, section 3.1.
    """

    def __init__(self, min_confidence: float, per_class: int) -> None:
        self.highest = 0.0  # confidence of all images so far
        self._min_confidence = min_confidence
        self._per_class = per_class
        self._seen = 0
        empty = (np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        self._parts = [empty]  # class, confidence and position of each candidate
        self._kept = self._waiting = 0

    def add(self, answers: np.ndarray, confidence: np.ndarray) -> None:
        """Adds the next images.

        Args:
            answers: Index of the most probable class of each image, (images,).
            confidence: Its probability, (images,), float; 0 for images that could not
                be read.
        """
        confidence = confidence.astype(np.float32)
        self.highest = max(self.highest, float(confidence.max(initial=0)))
        sure = np.flatnonzero(confidence > self._min_confidence)
        part = answers[sure].astype(np.int32), confidence[sure], self._seen + sure
        self._parts.append(part)
        self._seen += len(answers)
        self._waiting += len(sure)
        if self._waiting > max(_LEAST_WAITING, self._kept):
            self._drop_weakest()

    def chosen(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the chosen images.

        Returns:
            Positions of the kept images in the stream, (kept,), int64, ascending; and
            the images to train on as indices into them, (chosen,), int32, by class and
            confidence, with repetitions. A class that is never predicted has none.
        """
        counts, positions = self._drop_weakest()
        order = np.argsort(positions)
        ranks = np.empty(len(order), np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        counts = counts[counts > 0]
        starts = np.cumsum(counts) - counts
        target = counts.max(initial=0)  # at most `per_class`
        rows = np.empty((len(counts), target), np.int32)
        for row, start, count in zip(rows, starts, counts, strict=True):
            row[:] = np.resize(ranks[start : start + count], target)
        return positions[order], rows.ravel()

    def _drop_weakest(self) -> tuple[np.ndarray, np.ndarray]:
        """Keeps the best of each class.

        Returns:
            Number of kept images of each class, and their positions, sorted by class
            and confidence.
        """
        # Column by column, so that little is in memory twice.
        parts = [list(column) for column in zip(*self._parts, strict=True)]
        self._parts = []
        answers, confidence = _join(parts[0]), _join(parts[1])
        # Stable, so of equally confident images the first ones are kept.
        order = np.lexsort((-confidence, answers))
        counts = np.bincount(answers)
        # The best `per_class` of each class, which are contiguous now.
        kept = np.minimum(counts, self._per_class)
        is_kept = np.repeat(
            np.tile([True, False], len(counts)),
            np.stack([kept, counts - kept], axis=1).ravel(),
        )
        order = order[is_kept]
        answers, confidence = answers[order], confidence[order]
        positions = _join(parts[2])[order]
        self._parts = [(answers, confidence, positions)]
        self._kept, self._waiting = len(order), 0
        return kept, positions


def _join(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenates arrays and drops them from their list."""
    found = np.concatenate(parts)
    parts.clear()
    return found
