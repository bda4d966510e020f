"""Files for ImageNet's test server, and its answers.

Source: ILSVRC2012_devkit_t12/readme.txt, section "Submission and evaluation". A file
has one line per image, in the alphabetical order of the file names. Each line has at
most five labels, ILSVRC2012_IDs from 1 to 1000, in descending order of confidence.
`evaluation/demo_eval.m` prints the error for 1 to 5 guesses.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence

import numpy as np

CLASSES = 1000
GUESSES = 5
TEST_IMAGES, VALIDATION_IMAGES = 100_000, 50_000
_ROW = re.compile(r"([1-5])(?:\.0+)?((?:\s+[01](?:\.\d+)?)+)")


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Accuracy on a set of images.

    Attributes:
        top1: Top-1 accuracy, a ratio.
        top5: Top-5 accuracy, a ratio.
    """

    top1: float
    top5: float


def read_submission(path: pathlib.Path, images: int) -> np.ndarray:
    """Reads and checks a file for the test server.

    Args:
        path: Path of the file.
        images: Number of images.

    Returns:
        Labels from 1 to 1000, (images, 5), int32; 0 where a line has fewer than five.

    Raises:
        ValueError: The file does not have the required form.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) != images:
        raise ValueError(
            f"A submission must have one line per image, {images:,} lines. "
            f"Received: {len(lines):,} lines in {path}"
        )
    found = np.zeros((images, GUESSES), np.int32)
    for number, line in enumerate(lines, start=1):
        words = line.split()
        labels = [int(word) for word in words if word.isascii() and word.isdigit()]
        is_valid = (
            len(labels) == len(words) == len(set(labels))
            and 1 <= len(words) <= GUESSES
            and all(1 <= label <= CLASSES for label in labels)
        )
        if not is_valid:
            raise ValueError(
                f"Each line of a submission must have at most {GUESSES} different "
                f"labels from 1 to {CLASSES}. Received: {line!r} in line {number} of "
                f"{path}"
            )
        found[number - 1, : len(labels)] = labels
    return found


def read_truth(path: pathlib.Path) -> np.ndarray:
    """Reads ILSVRC2012_validation_ground_truth.txt of the development kit.

    Args:
        path: Path of the file.

    Returns:
        Labels from 1 to 1000, (images,), int32.

    Raises:
        ValueError: The file does not have 50,000 such labels.
    """
    words = path.read_text(encoding="utf-8").split()
    if len(words) != VALIDATION_IMAGES or not all(
        word.isascii() and word.isdigit() and 1 <= int(word) <= CLASSES
        for word in words
    ):
        raise ValueError(
            f"`ground_truth` must have {VALIDATION_IMAGES:,} labels from 1 to "
            f"{CLASSES}, one per line. Received: {len(words):,} in {path}"
        )
    return np.array([int(word) for word in words], np.int32)


def score(labels: np.ndarray, truth: np.ndarray) -> Accuracy:
    """Scores a submission as the development kit's `eval_flat.m` does.

    Args:
        labels: Result of `read_submission`, (images, 5).
        truth: Correct labels, (images,).
    """
    hits = labels == truth[:, np.newaxis]
    return Accuracy(float(hits[:, 0].mean()), float(hits.any(axis=1).mean()))


def parse_answer(text: str) -> Accuracy:
    r"""Parses the errors that the server or the development kit prints.

    Reads the rows of `demo_eval.m`: number of guesses, then the error as a ratio. If
    there are more columns, as in later development kits, the last is the error of
    classification without localisation. If there are several tables, the first is that
    of the classification task.

    Args:
        text: Text that contains the table.

    Returns:
        One minus the errors for one and for five guesses.

    Raises:
        ValueError: There is no such table, or an error increases with more guesses.

    Example:
        >>> parse_answer("# guesses  vs flat error\n 1.0000 0.2277\n 5.0000 0.0655")
        Accuracy(top1=0.7723, top5=0.9345)
    """
    errors: dict[int, float] = {}
    for line in text.splitlines():
        row = _ROW.fullmatch(line.strip())
        if row:
            errors.setdefault(int(row[1]), float(row[2].split()[-1]))
    found = [errors.get(guesses) for guesses in (1, GUESSES)]
    if not _is_falling(found):
        raise ValueError(
            "An answer must have rows of the number of guesses and the error, a ratio, "
            f"for 1 and {GUESSES} guesses. Received: {text[:200]!r}"
        )
    return Accuracy(*(round(1 - error, 10) for error in found if error is not None))


def _is_falling(errors: Sequence[float | None]) -> bool:
    one, five = errors
    return one is not None and five is not None and 1 >= one >= five >= 0
