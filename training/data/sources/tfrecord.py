"""ImageNet as TFRecord files."""

from __future__ import annotations

import os
import re

import tensorflow as tf

from keras_efficientnet.preprocessing import imagenet_classes

from .base import Source, with_validation
from .records import Layout, record_split

# Source: tensorflow/tpu, imagenet_input.py: `ImageNetInput.dataset_parser`.
IMAGENET = Layout("image/encoded", "image/class/label", first_label=1, classes=1000)
_SPLITS = ("train", "validation", "test")
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")


def tfrecord(pattern: str) -> Source:
    """Opens ImageNet's TFRecord files, as tensorflow/tpu and others write them.

    Args:
        pattern: Folder or glob pattern of files, local or any that tf.io.gfile reads.
            Files named "train-*", "validation-*" and "test-*" form the splits.

    Returns:
        The source; its classes are named by their WordNet ids. Without validation
        files, a tenth of each training class is held out by a fixed rule.

    Raises:
        ValueError: There are no such files, shards of a folder are missing, or a file
            or record is damaged.
    """
    expanded = os.path.expanduser(pattern)
    is_folder = tf.io.gfile.isdir(expanded)
    found = tf.io.gfile.glob(os.path.join(expanded, "*") if is_folder else expanded)
    parts = {
        name: sorted(p for p in found if os.path.basename(p).startswith(f"{name}-"))
        for name in _SPLITS
    }
    parts = {name: paths for name, paths in parts.items() if paths}
    if not parts:
        raise ValueError(
            "`data` must match files named train-*, validation-* or test-*. "
            f"Received: data='tfrecord:{pattern}', which matches none"
        )
    if is_folder:
        for paths in parts.values():
            _check_complete(paths)
    splits = {name: record_split(paths, IMAGENET) for name, paths in parts.items()}
    names = tuple(wnid for wnid, _ in imagenet_classes())
    return Source(names, with_validation(splits))


def _check_complete(paths: list[str]) -> None:
    """Checks that no shard is missing, where file names contain their number."""
    shards = [_SHARD.search(path) for path in paths]
    there = {int(shard[1]) for shard in shards if shard}
    totals = {int(shard[2]) for shard in shards if shard}
    if len(totals) != 1:
        return
    missing = sorted(set(range(*totals)) - there)
    if missing:
        example = _SHARD.sub(f"-{missing[0]:05d}-of-{max(totals):05d}", paths[0])
        raise ValueError(
            f"All {max(totals)} files must exist; use a glob pattern to read only some "
            f"of them. Received: a folder without {len(missing)}, the first {example}"
        )
