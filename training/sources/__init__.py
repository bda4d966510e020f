"""Where labelled images come from: one interface over folders, records and arrays."""

from __future__ import annotations

from keras_efficientnet.architecture import did_you_mean

from .arrays import DIGIT_SIZE, arrays, digits
from .base import HELD_OUT, SHARES, Source, Split, hold_out, stratify
from .folders import folder, folders, unlabelled
from .mnist import FASHION_MNIST, fashion_mnist, idx
from .pseudo import with_pseudo_labels
from .tfds import tfds
from .tfrecord import tfrecord

__all__ = [
    "DIGIT_SIZE",
    "FASHION_MNIST",
    "HELD_OUT",
    "SHARES",
    "Source",
    "Split",
    "arrays",
    "digits",
    "fashion_mnist",
    "folder",
    "folders",
    "hold_out",
    "idx",
    "load",
    "stratify",
    "tfds",
    "tfrecord",
    "unlabelled",
    "with_pseudo_labels",
]

# Kind -> how it is written.
KINDS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist",
    "idx": "idx:DIR",
    "folder": "folder:DIR",
    "tfds": "tfds:NAME[:VERSION]",
    "tfrecord": "tfrecord:GLOB",
}


def load(name: str, *, data_dir: str = "") -> Source:
    """Opens a source by name.

    Args:
        name: As in `KINDS`.
        data_dir: Where TFDS keeps its data sets; empty: its default.

    Raises:
        ValueError: There is no such source, or it holds no usable images.
        ImportError: The package that holds the images is missing.
    """
    kind, _, argument = name.partition(":")
    if KINDS.get(kind) is None or bool(argument) != (":" in KINDS[kind]):
        raise ValueError(
            f"`data` must be one of {', '.join(KINDS.values())}."
            f"{did_you_mean(kind, KINDS)} Received: data={name!r}"
        )
    if kind == "tfds":
        return tfds(argument, data_dir)
    if not argument:
        return digits() if kind == "digits" else fashion_mnist()
    openers = {"folder": folder, "idx": idx, "tfrecord": tfrecord}
    return openers[kind](argument)
