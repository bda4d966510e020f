"""Opens a source by its name, such as "folder:DIR"."""

from __future__ import annotations

import os

from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.common.image_csv import is_image_csv

from .arrays import digits
from .base import Source
from .csv_file import csv_file
from .folders import folder
from .mnist import fashion_mnist, idx
from .record_files import arrayrecord, tfrecord
from .tfds import tfds

# Kind -> syntax.
KINDS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist",
    "idx": "idx:DIR",
    "folder": "folder:DIR",
    "csv": "csv:FILE",
    "tfds": "tfds:NAME[:VERSION][+download]",
    "tfrecord": "tfrecord:GLOB",
    "arrayrecord": "arrayrecord:GLOB",
}


def load(
    name: str, *, data_dir: str | None = None, multi_label: bool = False
) -> Source:
    """Opens a source by name.

    Args:
        name: Name in the syntax of `KINDS`.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.
        multi_label: Whether the images of a CSV file may have several labels. Other
            sources have one label per image.

    Raises:
        ValueError: There is no such source, or it has no usable images.
        ImportError: The package that contains the images is missing.
    """
    kind, _, argument = name.partition(":")
    if KINDS.get(kind) is None or bool(argument) != (":" in KINDS[kind]):
        hint = did_you_mean(kind, KINDS)
        if is_image_csv(name):
            hint = f" Did you mean 'csv:{name}'?"
        elif "/" in name or os.path.isdir(os.path.expanduser(name)):
            hint = f" Did you mean 'folder:{name}'?"
        raise ValueError(
            f"`data` must be one of {', '.join(KINDS.values())}.{hint} "
            f"Received: data={name!r}"
        )
    if kind == "tfds":
        return tfds(argument, data_dir)
    if not argument:
        return digits() if kind == "digits" else fashion_mnist()
    if kind == "csv":
        return csv_file(argument, multi_label=multi_label)
    openers = {
        "arrayrecord": arrayrecord,
        "folder": folder,
        "idx": idx,
        "tfrecord": tfrecord,
    }
    return openers[kind](argument)
