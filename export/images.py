"""Image files: finding them, choosing among them, reading them as pixels."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_efficientnet.architecture import did_you_mean
from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.preprocessing import (
    IMAGE_SUFFIXES,
    EvalPreprocessing,
    imagenet_classes,
    tf_ops,
)
from keras_efficientnet.preprocessing.file_limits import read_image_file

BATCH_SIZE = 32  # images


@dataclasses.dataclass(frozen=True)
class Example:
    """An image file and the name of the folder it was sorted into, if it was."""

    path: Path
    folder: str | None = None


def list_images(folder: str | Path) -> list[Example]:
    """Lists the images of a folder, or of its class folders, by name.

    Args:
        folder: Holds images, or one folder of images per class.

    Raises:
        ValueError: There is no such folder, or it holds no image, or it holds both
            images and folders of images.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"A folder of images must exist. Received: {root}")
    flat = [Example(path) for path in _image_files(root)]
    sorted_in = [
        Example(path, child.name)
        for child in sorted(root.iterdir())
        if child.is_dir()
        for path in _image_files(child)
    ]
    if flat and sorted_in:
        raise ValueError(
            "A folder must hold either images or class folders, not both. "
            f"Received: {root} with {len(flat)} images beside its folders"
        )
    if not flat and not sorted_in:
        raise ValueError(
            f"A folder of images must hold some ({', '.join(IMAGE_SUFFIXES)}). "
            f"Received: {root}"
        )
    return flat or sorted_in


def class_indices(
    examples: Sequence[Example], labels: Sequence[str]
) -> np.ndarray | None:
    """Finds the class that each image's folder stands for.

    Args:
        examples: Images, all or none in class folders.
        labels: Class names in index order.

    Returns:
        Indices, (images,), int64; None when the images are in no class folders.

    Raises:
        ValueError: A folder's name is not that of exactly one class. ImageNet's
            classes also go by their WordNet ids.
    """
    if examples[0].folder is None:
        return None
    known = _unique_names(labels)
    for example in examples:
        if example.folder not in known:
            near = did_you_mean(str(example.folder), known)
            raise ValueError(
                "A class folder must be named like exactly one of the model's "
                f"{len(labels)} classes.{near} Received: {example.path.parent}"
            )
    return np.array([known[str(example.folder)] for example in examples])


def choose_balanced(examples: Sequence[Example], count: int) -> list[Example]:
    """Chooses images so that every class has nearly as many.

    Takes one of each class in turn, in a fixed random order within the class.

    Args:
        examples: Images to choose from.
        count: Images wanted; all when there are fewer.

    Raises:
        ValueError: `count` is under 1.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count}")
    classes: dict[str | None, list[Example]] = collections.defaultdict(list)
    for example in examples:
        classes[example.folder].append(example)
    for members in classes.values():
        random.Random(0).shuffle(members)
    rounds = itertools.zip_longest(*classes.values())
    in_turn = [example for one in rounds for example in one if example is not None]
    return in_turn[:count]


def read_image(path: str | Path, spec: EvalPreprocessing) -> np.ndarray:
    """Reads an image the way evaluation does.

    Args:
        path: Of a JPEG, PNG, WebP, BMP or GIF file.
        spec: Crop, size and resize method.

    Returns:
        Pixels, (image_size, image_size, 3), float32, 0 to 255; bicubic resizing
        overshoots a little beside strong edges.

    Raises:
        ValueError: The file cannot be read as an image.
    """
    try:
        image = tf_ops.decode_image(read_image_file(Path(path)))
        return tf_ops.eval_image(image, spec).numpy()
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise ValueError(
            "An image must be a readable JPEG, PNG, WebP, BMP or GIF file. "
            f"Received: {path} ({tf_reason(error)})"
        ) from error


def read_batches(
    paths: Iterable[Path], spec: EvalPreprocessing
) -> Iterator[np.ndarray]:
    """Reads images in batches of at most `BATCH_SIZE`.

    Args:
        paths: Of the images.
        spec: Crop, size and resize method.

    Yields:
        (batch, image_size, image_size, 3), float32, 0 to 255.

    Raises:
        ValueError: A file cannot be read as an image.
    """
    batch: list[np.ndarray] = []
    for path in paths:
        batch.append(read_image(path, spec))
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def _unique_names(labels: Sequence[str]) -> dict[str, int]:
    counts = collections.Counter(labels)
    names = {name: i for i, name in enumerate(labels) if counts[name] == 1}
    imagenet = imagenet_classes()
    if list(labels) == [name for _, name in imagenet]:
        names |= {wnid: i for i, (wnid, _) in enumerate(imagenet)}
    return names
