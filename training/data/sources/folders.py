"""Sources of image files in folders."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.image_folders import (
    ImageFolder,
    existing_folder,
    list_images,
    open_class_folders,
    readable_suffixes,
    shorten,
)
from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.common.split_folders import WHOLE, find_splits

from .base import SHARES, UNKNOWN, Source, Split, relative, stratify, with_validation

# Number of files whose content is checked before a run resumes: swapped classes may
# have files of the same names and sizes.
_SAMPLED = 256
_AT_ONCE = 16  # files whose sizes are read in parallel; file servers are slow


def folder(directory: str) -> Source:
    """Opens a folder of images with one subfolder per class.

    Args:
        directory: Path of a folder with one subfolder per class, or with the folder
            "train" and optionally "validation" and "test", which have one subfolder
            per class. See `find_splits` for other names of splits. Missing splits are
            held out by a fixed rule: see `SHARES`, `HELD_OUT`.

    Raises:
        ValueError: It is not a folder or has no classes, a class has no images or too
            few to be split, or the splits have different classes.
    """
    root = existing_folder(directory)
    found = {name: _open(place, root) for name, place in find_splits(directory).items()}
    if WHOLE in found:
        whole = found[WHOLE]
        parts = stratify(relative(whole.paths), whole.labels, SHARES)
        found = {name: whole.take(at) for name, at in parts.items()}
    return _source(found)


def folders(directories: Mapping[str, str | os.PathLike[str]]) -> Source:
    """Opens one folder per split, each with one subfolder per class.

    Args:
        directories: Split -> folder; "train" and "validation" are required.

    Raises:
        ValueError: See `folder`.
    """
    roots = {name: existing_folder(path) for name, path in directories.items()}
    return _source({name: _open(root, root) for name, root in roots.items()})


def unlabelled(directory: str | os.PathLike[str]) -> Split:
    """Opens all images of a folder and its subfolders, sorted by path.

    Args:
        directory: Path of the folder.

    Returns:
        A split whose labels are all `UNKNOWN`.

    Raises:
        ValueError: It is not a folder, or has no images.
    """
    paths = list_images(directory)
    return file_split(paths, np.full(len(paths), UNKNOWN, np.int32))


def file_split(
    paths: Sequence[str],
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    label_sets: np.ndarray | None = None,
) -> Split:
    """Returns a split of image files.

    Args:
        paths: Path of each image.
        labels: Class index of each image, (images,), int32.
        weights: Weight of each image, (images,), float32. None: 1.
        label_sets: All labels of each image, (images, classes), uint8. None: one.
    """
    held = tf.constant([os.fsencode(path) for path in paths])
    return Split(
        labels,
        lambda i: tf.io.read_file(tf.gather(held, i)),
        paths,
        find_stamps=functools.cache(lambda: _stamps(paths)),
        weights=weights,
        label_sets=label_sets,
    )


def _open(root: Path, data_root: Path) -> ImageFolder:
    found = open_class_folders(root, data_root)
    images = np.bincount(found.labels, minlength=len(found.class_names))
    empty = [name for name, n in zip(found.class_names, images, strict=True) if not n]
    if empty:
        raise ValueError(
            f"{printable(root / empty[0])} must hold images "
            f"({', '.join(readable_suffixes())}). It has none."
        )
    return found


def _source(found: Mapping[str, ImageFolder]) -> Source:
    first, *others = found.values()
    for other in others:
        if other.class_names != first.class_names:
            only = sorted(set(first.class_names) ^ set(other.class_names))
            raise ValueError(
                f"{printable(other.root)} must have the class folders of "
                f"{printable(first.root)}. Only in one of them: {shorten(only)}"
            )
    splits = {name: file_split(f.paths, f.labels) for name, f in found.items()}
    return Source(first.class_names, with_validation(splits))


def _stamps(paths: Sequence[str]) -> np.ndarray:
    """Returns the size of each file, plus a checksum for some of them, int64."""
    sampled = np.unique(np.linspace(0, len(paths) - 1, _SAMPLED, dtype=np.int64))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = np.fromiter(pool.map(os.path.getsize, paths), np.int64, len(paths))
        sizes[sampled] += list(pool.map(_checksum, [paths[i] for i in sampled]))
    return sizes


def _checksum(path: str) -> int:
    return zlib.crc32(Path(path).read_bytes()) << 16
