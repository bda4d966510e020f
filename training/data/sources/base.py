"""Labelled images in splits, read by position."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.common.image_classes import find_similar_names
from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.preprocessing import tf_ops

# Share of each split, for sources that are not divided into splits.
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
HELD_OUT = 0.1  # share of "train" for validation, if only "train" exists
UNKNOWN = -1  # label of unlabelled images


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled images that are read by position.

    Attributes:
        labels: Class index of each image, (images,), int32. With `label_sets`, its
            rarest label, `UNKNOWN` if it has none.
        read: Function from a position, an int64 scalar, to an image: RGB pixels,
            (height, width, 3), uint8, or the encoded file, a string scalar. Runs
            inside tf.data.
        names: Name of each image in messages, by position.
        soft_labels: A teacher's probabilities, (images, classes), float; None: the
            labels are the targets.
        find_stamps: Function that returns a fingerprint per image, (images,), int64:
            the size of its file, or a checksum of its pixels. None: not known.
        weights: Weight of each image in the training loss, (images,), float32, at
            least 0. None: 1.
        label_sets: All labels of each image, (images, classes), uint8, 1 or 0. None:
            each image has one label.
    """

    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    names: Sequence[str]
    soft_labels: np.ndarray | None = None
    find_stamps: Callable[[], np.ndarray] | None = None
    weights: np.ndarray | None = None
    label_sets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> Split:
        """Returns a split of the images at the given positions, in that order.

        Args:
            positions: Positions, (images,), integers; may repeat.
        """
        held = tf.constant(positions, tf.int64)
        soft, find_stamps = self.soft_labels, self.find_stamps
        return Split(
            self.labels[positions],
            lambda i: self.read(tf.gather(held, i)),
            [self.names[i] for i in positions],
            None if soft is None else soft[positions],
            None if find_stamps is None else lambda: find_stamps()[positions],
            None if self.weights is None else self.weights[positions],
            None if self.label_sets is None else self.label_sets[positions],
        )

    def digest(self) -> str:
        """Returns a checksum of names, fingerprints, labels, targets and weights.

        It does not depend on the folder that contains them.
        """
        found = hashlib.sha256()
        for name in relative(self.names):
            found.update(_encode(name) + b"\0")
        found.update(self.labels.astype("<i4").tobytes())
        if self.soft_labels is not None:
            found.update(self.soft_labels.tobytes())
        if self.find_stamps is not None:
            found.update(self.find_stamps().astype("<i8").tobytes())
        if self.weights is not None:
            found.update(self.weights.astype("<f4").tobytes())
        if self.label_sets is not None:
            found.update(self.label_sets.tobytes())
        return found.hexdigest()

    def find_unreadable(
        self, most: int = 5, positions: np.ndarray | None = None
    ) -> list[str]:
        """Reads images and returns the names of those that fail.

        Args:
            most: Number of names after which to stop.
            positions: Positions to read; None: all.
        """
        failed = []
        for i in range(len(self)) if positions is None else dict.fromkeys(positions):
            try:
                tf_ops.pixels(self.read(tf.constant(i, tf.int64)))
            except tf.errors.OpError:
                failed.append(printable(self.names[i]))
            if len(failed) == most:
                break
        return failed


@dataclasses.dataclass(frozen=True)
class Source:
    """Data set of labelled images, in splits.

    Attributes:
        class_names: Names of the classes, in the order of the class indices.
        splits: Splits by name: usually "train" and "validation"; "test" and "minival"
            where they exist. A source for evaluation only may lack "train".
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

    def check_trainable(self) -> None:
        """Checks that there are training images of at least two classes.

        Warns about classes whose names differ only in spelling.

        Raises:
            ValueError: There are not.
        """
        if "train" not in self.splits:
            raise ValueError(
                "`data` must have training images. "
                f"Received: images of {', '.join(self.splits)} only"
            )
        if len(self.class_names) < 2:
            raise ValueError(
                "`data` must have at least two classes, such as a folder for each. "
                f"Received: {', '.join(map(printable, self.class_names)) or 'none'}"
            )
        for names in find_similar_names(self.class_names):
            warnings.warn(
                f"Classes {' and '.join(map(repr, names))} differ only in spelling; "
                "they are trained as different classes",
                stacklevel=2,
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

    @property
    def selection_split(self) -> str:
        """Name of the split that chooses the best epoch."""
        return "minival" if "minival" in self.splits else "validation"

    @property
    def final_split(self) -> str:
        """Name of the split that is evaluated once, at the end.

        With a minival it is the real validation split, which selected nothing.
        """
        has_minival = "minival" in self.splits
        return "test" if "test" in self.splits and not has_minival else "validation"


def stratify(
    keys: Sequence[str],
    labels: np.ndarray,
    shares: Mapping[str, float],
    *,
    keep_small: bool = False,
) -> dict[str, np.ndarray]:
    """Splits each class into parts by a fixed rule.

    The images of a class are sorted by a hash of their keys and then cut, so the same
    images end up in the same parts on any machine.

    Args:
        keys: Keys of the images, all different.
        labels: Class index of each image, (images,).
        shares: Part -> share of the class; they add up to 1. The first part gets the
            remainder; every part gets at least one image of each class.
        keep_small: Whether all images of a class that has fewer than there are parts
            go to the first part.

    Returns:
        Part -> positions in ascending order, int64.

    Raises:
        ValueError: A class has fewer images than there are parts, without
            `keep_small`.
    """
    hashes = _hashes(keys)
    first, *others = shares
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    by_class = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[by_class])) + 1
    for members in np.split(by_class, starts):
        images = len(members)
        if images < len(shares) and keep_small:
            parts[first].append(members)
            continue
        if images < len(shares):
            raise ValueError(
                f"Each class must have at least {len(shares)} images, to be split into "
                f"{', '.join(shares)}. Received: {images} of class {labels[members[0]]}"
            )
        members = members[np.argsort(hashes[members])]
        for name in others:
            count = max(1, round(shares[name] * images))
            taken, members = members[:count], members[count:]
            parts[name].append(taken)
        parts[first].append(members)
    none = np.zeros(0, np.int64)
    return {
        name: np.sort(np.concatenate([none, *found])) for name, found in parts.items()
    }


def hold_out(source: Source, count: int) -> Source:
    """Holds out images of "train" as a "minival" split, by a fixed rule.

    The images with the lowest hashes of their names are held out: the same ones on any
    machine, wherever the files are.

    Args:
        source: Source with a "train" split.
        count: Number of images to hold out.

    Raises:
        ValueError: "train" does not have more than `count` images.
    """
    train = source.split("train")
    check_minival(count, len(train))
    order = np.argsort(_hashes(relative(train.names)), kind="stable")
    splits = dict(source.splits)
    splits["train"] = train.take(np.sort(order[count:]))
    splits["minival"] = train.take(np.sort(order[:count]))
    return dataclasses.replace(source, splits=splits)


def check_minival(count: int, images: int) -> None:
    """Checks that training images remain when some are held out.

    Args:
        count: Number of images to hold out.
        images: Number of training images.

    Raises:
        ValueError: `count` is not above 0 and under `images`.
    """
    if not 0 < count < images:
        raise ValueError(
            f"`minival` must be above 0 and under the {images} training images. "
            f"Received: minival={count}"
        )


def with_validation(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Holds out a tenth of "train" as "validation", unless that split exists.

    Args:
        splits: Split name -> split.

    Raises:
        ValueError: A class of "train" has too few images.
    """
    if "validation" in splits or "train" not in splits:
        return dict(splits)
    train = splits["train"]
    shares = {"train": 1 - HELD_OUT, "validation": HELD_OUT}
    names, is_multi_label = relative(train.names), train.label_sets is not None
    parts = stratify(names, train.labels, shares, keep_small=is_multi_label)
    return {**splits, **{name: train.take(at) for name, at in parts.items()}}


def checksums(images: np.ndarray) -> np.ndarray:
    """Returns a checksum of each image's pixels, (images,), int64.

    Args:
        images: Pixels, (images, ...).
    """
    return np.array([zlib.crc32(i.tobytes()) for i in images], np.int64)


def relative(names: Sequence[str]) -> list[str]:
    """Returns names relative to the folder that they have in common.

    Args:
        names: Names of images: absolute paths, or others, which are returned as is.

    Example:
        >>> relative(["/data/cat/1.png", "/data/dog/1.png"])
        ['cat/1.png', 'dog/1.png']
    """
    if not names or not all(os.path.isabs(name) for name in names):
        return list(names)
    shared = os.path.commonpath({os.path.dirname(name) for name in names})
    prefix = os.path.join(shared, "")  # much faster to strip than `relpath`
    return [
        (
            name[len(prefix) :]
            if name.startswith(prefix)
            else os.path.relpath(name, shared)
        ).replace(os.sep, "/")
        for name in names
    ]


def _hashes(keys: Sequence[str]) -> np.ndarray:
    return np.array([hashlib.sha256(_encode(key)).hexdigest() for key in keys])


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
