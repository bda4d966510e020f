"""Where labelled images come from: one interface over arrays, folders and digits."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_efficientnet import preprocessing_tf
from keras_efficientnet.architecture import did_you_mean
from keras_efficientnet.preprocessing import IMAGE_SUFFIXES

# Ratios to all images, where the source itself does not say.
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
HELD_OUT = 0.1  # of the training images, where only "train" exists
DIGIT_SIZE = 32  # pixels; the originals have 8
_SPLIT_FOLDERS = (("validation", "validation"), ("validation", "val"), ("test", "test"))
_UNFIT = set("/\\\n")  # in the name of a folder or a line of labels.txt


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images that can be asked for by position.

    Attributes:
        labels: Class index of each image, (images,), int32.
        read: From a position, an int64 scalar, to RGB pixels, (height, width, 3),
            uint8. Runs inside tf.data.
        names: What to call each image in messages, by position.
    """

    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def find_unreadable(self, most: int = 5) -> list[str]:
        """Reads every image and names those that fail, up to `most` of them."""
        failed = []
        for i, name in enumerate(self.names):
            try:
                self.read(tf.constant(i, tf.int64))
            except tf.errors.OpError:
                failed.append(name)
            if len(failed) == most:
                break
        return failed


@dataclasses.dataclass(frozen=True)
class Source:
    """A set of labelled images in parts.

    Attributes:
        class_names: In the order of the class indices.
        splits: "train" and "validation", and "test" where there is one.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Split]

    def __post_init__(self) -> None:
        bad = [
            n for n in self.class_names if not n.strip(". ") or set(n) & set("/\\\n")
        ]
        if bad or len(set(self.class_names)) < len(self.class_names):
            raise ValueError(
                "`class_names` must be distinct and fit as folder names. "
                f"Received: class_names={self.class_names}"
            )

    def split(self, name: str) -> Split:
        """Returns a split by name.

        Raises:
            ValueError: There is no such split.
        """
        if name not in self.splits:
            raise ValueError(
                f"`split` must be one of {', '.join(self.splits)}."
                f"{did_you_mean(name, self.splits)} Received: split={name!r}"
            )
        return self.splits[name]


def load(name: str) -> Source:
    """Opens a source by name.

    Args:
        name: "digits" or "folder:DIR".

    Raises:
        ValueError: There is no such source, or it holds no usable images.
        ImportError: The package that holds the images is missing.
    """
    kind, _, argument = name.partition(":")
    known = {"digits": "digits", "folder": "folder:DIR"}
    if known.get(kind) is None or bool(argument) != (":" in known[kind]):
        raise ValueError(
            f"`data` must be one of {', '.join(known.values())}."
            f"{did_you_mean(kind, known)} Received: data={name!r}"
        )
    return folder(argument) if kind == "folder" else digits()


def arrays(splits: Mapping[str, tuple[Any, Any]], class_names: Sequence[str]) -> Source:
    """Makes a source of images in memory.

    Args:
        splits: Split name -> (images, labels): (images, height, width, 3) uint8, 0
            to 255, and (images,) integers. "train" and "validation" must be there.
        class_names: In the order of the class indices.

    Raises:
        ValueError: A split is missing or empty, or an array has another shape or
            dtype, or a label is out of range.
    """
    for name in ("train", "validation"):
        if name not in splits:
            raise ValueError(
                f"`splits` must hold {name!r}. Received: splits with {list(splits)}"
            )
    checked = {
        name: _array_split(name, np.asarray(images), np.asarray(labels), class_names)
        for name, (images, labels) in splits.items()
    }
    return Source(tuple(class_names), checked)


def digits() -> Source:
    """Opens scikit-learn's 1,797 handwritten digits, 10 classes.

    They are 8 x 8 pixels there and are held here as 32 x 32. The split, 60% / 20% /
    20% of each class, is always the same.

    Raises:
        ImportError: scikit-learn is not installed.

    Source:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI
        Machine Learning Repository, 1998 (its test part).
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "The source 'digits' needs scikit-learn: pip install scikit-learn"
        ) from error
    found = datasets.load_digits()
    pixels = found.images[..., np.newaxis] * (255 / 16)  # 0 to 16 in the original
    pixels = tf.image.resize(pixels, (DIGIT_SIZE, DIGIT_SIZE), "bicubic")
    pixels = np.clip(np.rint(pixels.numpy()), 0, 255).astype(np.uint8)
    images = np.repeat(pixels, 3, axis=-1)
    labels = found.target.astype(np.int32)
    parts = stratify([str(i) for i in range(len(labels))], labels, SHARES)
    splits = {name: (images[at], labels[at]) for name, at in parts.items()}
    return arrays(splits, [str(digit) for digit in range(10)])


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
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise ValueError(f"`data` must name a folder. Received: data='folder:{root}'")
    if not (root / "train").is_dir():
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


def stratify(
    keys: Sequence[str], labels: np.ndarray, shares: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Cuts each class into parts by a fixed rule.

    The images of a class are ordered by a hash of their keys and cut there, so that
    the same images always land in the same parts, on any machine.

    Args:
        keys: Of the images; distinct.
        labels: Class index of each image, (images,).
        shares: Part -> ratio to the class; they add up to 1. The first part gets
            what rounding leaves; every part gets at least one image of each class.

    Returns:
        Part -> positions in rising order, int64.

    Raises:
        ValueError: A class has fewer images than there are parts.
    """
    hashes = np.array([hashlib.sha256(key.encode()).hexdigest() for key in keys])
    first, *others = shares
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < len(shares):
            raise ValueError(
                f"Each class must have at least {len(shares)} images, to be split "
                f"into {', '.join(shares)}. Received: {len(members)} of class {label}"
            )
        members = members[np.argsort(hashes[members])]
        for name in others:
            count = max(1, round(shares[name] * np.count_nonzero(labels == label)))
            taken, members = members[:count], members[count:]
            parts[name].append(taken)
        parts[first].append(members)
    return {name: np.sort(np.concatenate(found)) for name, found in parts.items()}


def _array_split(
    name: str, images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> Split:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            "Images must be (images, height, width, 3), uint8. "
            f"Received: {images.dtype} of shape {images.shape} as {name!r}"
        )
    if labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "There must be one label per image, and at least one image. "
            f"Received: {len(images)} images and labels of shape {labels.shape} "
            f"as {name!r}"
        )
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise ValueError(
            f"Labels must be 0 to {len(class_names) - 1}, one per class name. "
            f"Received: {labels.min()} to {labels.max()} as {name!r}"
        )
    held = tf.constant(images)
    names = [f"{name}[{i}]" for i in range(len(labels))]
    return Split(labels.astype(np.int32), lambda i: tf.gather(held, i), names)


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

    def read(index: tf.Tensor) -> tf.Tensor:
        encoded = tf.io.read_file(tf.gather(held, index))
        return preprocessing_tf.decode_image(encoded)

    return Split(labels, read, paths)
