"""Folders of image files."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_efficientnet.preprocessing import IMAGE_SUFFIXES

from .base import HELD_OUT, SHARES, Source, Split, stratify

_SPLIT_FOLDERS = (("validation", "validation"), ("validation", "val"), ("test", "test"))


def folder(directory: str) -> Source:
    """Opens a folder of images with one subfolder per class.

    Args:
        directory: Holds the class folders; or "train", and beside it "validation"
            (or "val") and "test" if they exist, each with the class folders.
            What is missing is held out by a fixed rule: see `SHARES`, `HELD_OUT`.

    Raises:
        ValueError: It is no folder, has no classes, a class has no images or too
            few to be split, or the splits have different classes.
    """
    root = _existing(directory)
    if not _has_folders(root / "train"):  # else a class may be called so
        listing = _Listing.of(root)
        return listing.source(listing.cut(SHARES))
    listing = _Listing.of(root / "train")
    parts = {"train": listing}
    for name, spelling in _SPLIT_FOLDERS:
        if (root / spelling).is_dir():
            parts[name] = _Listing.of(root / spelling)
            _check_same_classes(listing, parts[name])
    if "validation" not in parts:
        shares = {"train": 1 - HELD_OUT, "validation": HELD_OUT}
        parts.update(listing.cut(shares))
    return listing.source(parts)


def folders(directories: Mapping[str, str | os.PathLike[str]]) -> Source:
    """Opens one folder per split, each with one subfolder per class.

    Args:
        directories: Split -> folder; "train" and "validation" must be there.

    Raises:
        ValueError: As for `folder`.
    """
    roots = {name: _existing(os.fspath(path)) for name, path in directories.items()}
    parts = {name: _Listing.of(root) for name, root in roots.items()}
    for part in parts.values():
        _check_same_classes(parts["train"], part)
    return parts["train"].source(parts)


def unlabelled(directory: str) -> Split:
    """Opens every image of a folder and its subfolders, in the order of their paths.

    Args:
        directory: Of images.

    Returns:
        A split whose labels are all 0.

    Raises:
        ValueError: It is no folder, or holds no images.
    """
    paths = _list_images(_existing(directory))
    return _file_split(paths, np.zeros(len(paths), np.int32))


@dataclasses.dataclass(frozen=True)
class _Listing:
    """Image files of class folders, in the order of their names."""

    root: pathlib.Path
    class_names: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray

    @classmethod
    def of(cls, root: pathlib.Path) -> _Listing:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
        if not folders:
            raise ValueError(f"{root} must have one subfolder per class. It has none.")
        paths: list[str] = []
        labels: list[int] = []
        for label, class_folder in enumerate(folders):
            found = _list_images(class_folder)
            paths += found
            labels += [label] * len(found)
        names = tuple(p.name for p in folders)
        return cls(root, names, paths, np.array(labels, np.int32))

    def cut(self, shares: Mapping[str, float]) -> dict[str, _Listing]:
        keys = [pathlib.Path(p).relative_to(self.root).as_posix() for p in self.paths]
        return {
            name: dataclasses.replace(
                self, paths=[self.paths[i] for i in at], labels=self.labels[at]
            )
            for name, at in stratify(keys, self.labels, shares).items()
        }

    def source(self, parts: Mapping[str, _Listing]) -> Source:
        splits = {name: _file_split(p.paths, p.labels) for name, p in parts.items()}
        return Source(self.class_names, splits)


def _has_folders(place: pathlib.Path) -> bool:
    return place.is_dir() and any(path.is_dir() for path in place.iterdir())


def _existing(directory: str) -> pathlib.Path:
    # Absolute: what is held out must not depend on where the program was started.
    root = pathlib.Path(os.path.abspath(pathlib.Path(directory).expanduser()))
    if not root.is_dir():
        raise ValueError(f"`data` must name a folder. Received: data='folder:{root}'")
    return root


def _list_images(class_folder: pathlib.Path) -> list[str]:
    found = sorted(
        str(path)
        for path in class_folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not found:
        raise ValueError(
            f"{class_folder} must hold images ({', '.join(IMAGE_SUFFIXES)}). "
            "It has none."
        )
    return found


def _check_same_classes(train: _Listing, other: _Listing) -> None:
    if other.class_names != train.class_names:
        only = sorted(set(train.class_names) ^ set(other.class_names))
        raise ValueError(
            f"{other.root} must have the class folders of {train.root}. "
            f"Only in one of them: {', '.join(only)}"
        )


def _file_split(paths: Sequence[str], labels: np.ndarray) -> Split:
    held = tf.constant(list(paths))
    return Split(labels, lambda i: tf.io.read_file(tf.gather(held, i)), paths)
