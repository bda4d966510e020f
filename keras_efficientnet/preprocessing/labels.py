"""ImageNet class names and decoding of predictions."""

from __future__ import annotations

import functools
import importlib.resources
from typing import Any

import numpy as np

_PACKAGE = __package__.rpartition(".")[0]


def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Returns (WordNet id, English name) of the 1000 classes, in index order.

    Source:
        ILSVRC2012 class order; the names are the first lemma of each synset in WordNet
        3.0.
    """
    return _read_classes()


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
    """Decodes scores into the most probable ImageNet classes, without a download.

    Args:
        preds: Scores of the classes, (batch, 1000).
        top: Number of classes per image, 1 to 1000.

    Returns:
        For each image, a list of (WordNet id, name, score), highest score first.

    Raises:
        ValueError: `preds` is not (batch, 1000), or `top` is out of range.
    """
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != 1000:
        raise ValueError(
            "`preds` must be scores of shape (batch, 1000). "
            f"Received: preds of shape {scores.shape}"
        )
    if not 1 <= top <= 1000:
        raise ValueError(f"`top` must be 1 to 1000. Received: top={top}")
    classes = imagenet_classes()
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(*classes[i], float(row[i])) for i in indices]
        for row, indices in zip(scores, order, strict=True)
    ]


@functools.cache
def _read_classes() -> tuple[tuple[str, str], ...]:
    text = importlib.resources.files(_PACKAGE).joinpath("imagenet_classes.txt")
    lines = text.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("\t") for line in lines)
    return tuple((wnid, name) for wnid, name in pairs)
