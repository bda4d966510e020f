"""Split folders: training, validation and test images of a data set."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .image_folders import (
    ImageFolder,
    existing_folder,
    holds_images,
    list_class_folders,
    list_images,
    loose_images,
    open_class_folders,
    shorten,
)
from .plain_text import printable

WHOLE = "whole"  # key of a data set without splits

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(
        ("validation", "valid", "val", "dev", "eval", "evaluation"), "validation"
    ),
    **dict.fromkeys(("test", "testing"), "test"),
}
_ORDER = ("train", "validation", "test")
# Other words in names of split folders: seg_train, train_images, val-set.
_FILLERS = {"seg", "set", "img", "imgs", "image", "images", "data", "dataset", "split"}
_MOST_WRAPPERS = 8  # nested folders that only contain another folder


def split_of(name: str) -> str | None:
    """Returns the split that a folder name refers to, or None.

    Args:
        name: Name of a folder.

    Example:
        >>> [split_of(n) for n in ("TRAIN", "valid", "seg_test", "val2017", "trainer")]
        ['train', 'validation', 'test', 'validation', None]
    """
    words = [re.sub(r"\d+|set$", "", w) for w in re.split(r"[\W_]+", name.casefold())]
    named = [word for word in words if word and word not in _FILLERS]
    return _SPLITS.get(named[0]) if len(named) == 1 else None


def find_splits(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Finds the training, validation and test folders of a data set.

    Folders that hold class folders are recognised by the usual names of splits in any
    case ("train", "Training", "valid", "val", "dev", "test", "seg_train", "val2017"). A
    folder that only wraps the data is unwrapped.

    Args:
        folder: Path of a folder that holds class folders, or split folders that hold
            class folders.

    Returns:
        Split ("train", "validation", "test") -> folder that holds its class folders; or
        `WHOLE` -> that folder for a data set without splits.

    Raises:
        ValueError: The folder does not exist, or its layout is ambiguous.
    """
    given = existing_folder(folder)
    root = _unwrap(given)
    if root != given:
        warnings.warn(f"Using the images in {printable(root)}", stacklevel=2)
    children = list_class_folders(root)
    splits: dict[str, Path] = {}
    unused: list[Path] = []
    for child in children:
        name = split_of(child.name)
        inner = _unwrap(child, is_split=True) if name else child
        if name is None or not list_class_folders(inner):
            unused.append(child)
        elif name in splits:
            both = shorten([os.path.relpath(splits[name], root), child.name])
            raise ValueError(
                f"{printable(root)} must have only one folder for the {name} split. "
                f"Received: {both}"
            )
        else:
            splits[name] = inner
    if not splits:
        _check_no_flat_splits(root, children)
        return {WHOLE: root}
    if "train" in splits and _is_unlabelled(splits.get("test"), splits["train"]):
        unused.append(splits.pop("test"))
    _check_unused(root, splits, unused)
    return {name: splits[name] for name in _ORDER if name in splits}


def open_image_folder(folder: str | os.PathLike[str]) -> ImageFolder:
    """Opens a folder of images or of class folders.

    Args:
        folder: Path of a folder that holds images, or class folders with images at any
            depth. Class folders without images are left out.

    Raises:
        ValueError: The folder does not exist, holds no images, holds both images and
            class folders, or is divided into splits.
    """
    root = existing_folder(folder)
    loose = loose_images(root)
    has_folders = any(holds_images(child) for child in list_class_folders(root))
    if loose and has_folders:
        raise ValueError(
            "A folder must hold either images or class folders, not both. "
            f"Received: {printable(root)} with {len(loose)} images next to its folders"
        )
    if not has_folders:
        paths = list_images(root)
        return ImageFolder(root, tuple(paths), np.zeros(len(paths), np.int32))
    splits = find_splits(root)
    if WHOLE not in splits:
        raise ValueError(
            "A folder of images must not be divided into splits here; pass "
            f"one of {shorten([str(path) for path in splits.values()])}. "
            f"Received: {printable(root)}"
        )
    found = open_class_folders(splits[WHOLE])
    kept, labels = np.unique(found.labels, return_inverse=True)
    names = tuple(found.class_names[i] for i in kept)
    return ImageFolder(found.root, found.paths, labels.astype(np.int32), names)


def _unwrap(folder: Path, *, is_split: bool = False, depth: int = 0) -> Path:
    """Follows folders with a single subfolder down to the folder with the data."""
    children = list_class_folders(folder)
    if len(children) != 1 or depth == _MOST_WRAPPERS or loose_images(folder):
        return folder
    # Inside a split folder, a wrapper may repeat its name: seg_train/seg_train/.
    if split_of(children[0].name) and not is_split:
        return folder
    inner = _unwrap(children[0], is_split=is_split, depth=depth + 1)
    names = [path.name for path in list_class_folders(inner)]
    is_data = len(names) > 1 or any(split_of(name) for name in names)
    return inner if is_data else folder


def _is_unlabelled(test: Path | None, train: Path) -> bool:
    """Returns whether all test images are in a single folder that is not a class."""
    if test is None:
        return False
    names = [path.name for path in list_class_folders(test)]
    return len(names) == 1 and not (train / names[0]).is_dir()


def _check_unused(
    root: Path, splits: Mapping[str, Path], unused: Sequence[Path]
) -> None:
    """Rejects unused folders that may be part of the data, and warns about others."""
    filled = [path for path in unused if holds_images(path)]
    for path in filled:
        if split_of(path.name) in {"train", "validation"} - splits.keys():
            raise ValueError(
                f"{printable(path)} must have one subfolder per class, like "
                f"{shorten([p.name for p in splits.values()])}, but has none."
            )
    unnamed = [path.name for path in filled if split_of(path.name) is None]
    if unnamed and len(splits) == 1:
        (split,) = splits.values()
        raise ValueError(
            f"{printable(root)} must hold either split folders or class folders. "
            f"Received: {printable(split.name)} with class folders inside, besides "
            f"{shorten(unnamed)}; pass {printable(split)} to use only that folder"
        )
    if unused:
        names = shorten([os.path.relpath(path, root) for path in unused])
        text = f"{printable(root)} has unused folders: {names}"
        warnings.warn(text, stacklevel=3)


def _check_no_flat_splits(root: Path, children: Sequence[Path]) -> None:
    """Rejects split folders without class folders."""
    named = [path for path in children if split_of(path.name)]
    others = [path for path in children if path not in named and holds_images(path)]
    if len({split_of(path.name) for path in named}) > 1 or (named and not others):
        raise ValueError(
            f"{printable(named[0])} must have one subfolder per class, but has none. "
            f"Received: {printable(root)}"
        )
