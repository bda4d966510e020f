"""Grey images in IDX files: MNIST and data sets in its format."""

from __future__ import annotations

import gzip
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .base import Source, Split, checksums, with_validation

# Folder of Debian's package dataset-fashion-mnist.
FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
# Source: arXiv:1708.07747, Table 2; "/" cannot be part of a folder's name.
FASHION_NAMES = (
    "T-shirt_top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_PARTS = {"train": "train", "test": "t10k"}
# Two zero bytes, 8 for unsigned bytes, then the number of dimensions.
_MAGIC = b"\x00\x00\x08"


def fashion_mnist() -> Source:
    """Opens Fashion-MNIST: 70,000 grey images of 28 x 28 pixels in 10 classes.

    Returns:
        54,000 training, 6,000 validation and 10,000 test images.

    Raises:
        ValueError: It is not installed.

    Source:
        arXiv:1708.07747.
    """
    if not FASHION_MNIST.is_dir():
        raise ValueError(
            f"Fashion-MNIST must be in {FASHION_MNIST}, where "
            "`apt-get install dataset-fashion-mnist` puts it; 'idx:DIR' opens it "
            "in any other folder"
        )
    return idx(str(FASHION_MNIST), FASHION_NAMES)


def idx(directory: str, class_names: Sequence[str] = ()) -> Source:
    """Opens the four files of MNIST, or of a data set in the same format.

    Args:
        directory: Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the
            same for t10k, each plain or with .gz.
        class_names: Names of the classes, in the order of the labels. Empty: "0", "1"
            and so on.

    Returns:
        The source. t10k is its test split; a tenth of each training class is held out
        for validation by a fixed rule.

    Raises:
        ValueError: A file is missing, or its content does not match its name.
    """
    folder = pathlib.Path(directory).expanduser()
    parts = {
        part: (read_idx(folder, f"{name}-images-idx3-ubyte", 3), _labels(folder, name))
        for part, name in _PARTS.items()
    }
    classes = 1 + max(int(labels.max()) for _, labels in parts.values())
    names = tuple(class_names) or tuple(str(i) for i in range(classes))
    if classes > len(names):
        raise ValueError(
            f"Labels must be under {len(names)}, the number of classes. "
            f"Received: label {classes - 1} in {folder}"
        )
    splits = {part: _split(part, *found) for part, found in parts.items()}
    return Source(names, with_validation(splits))


def _split(part: str, pixels: np.ndarray, labels: np.ndarray) -> Split:
    if len(pixels) != len(labels):
        raise ValueError(
            f"There must be one label per image. Received: {len(pixels)} images and "
            f"{len(labels)} labels in {_PARTS[part]}"
        )
    held = tf.constant(pixels)

    def read(position: tf.Tensor) -> tf.Tensor:
        grey = tf.gather(held, position)
        return tf.stack([grey] * 3, axis=-1)

    names = [f"{part}[{i}]" for i in range(len(labels))]
    return Split(
        labels.astype(np.int32), read, names, find_stamps=lambda: checksums(pixels)
    )


def _labels(folder: pathlib.Path, name: str) -> np.ndarray:
    return read_idx(folder, f"{name}-labels-idx1-ubyte", 1)


def read_idx(folder: pathlib.Path, name: str, dimensions: int) -> np.ndarray:
    """Reads an array of unsigned bytes.

    Args:
        folder: Folder of the file.
        name: Name of the file, which may also end in .gz.
        dimensions: Number of dimensions.

    Raises:
        ValueError: The file is missing, or its content does not match its name.
    """
    path = folder / name
    packed = folder / f"{name}.gz"
    if not (path.is_file() or packed.is_file()):
        raise ValueError(f"{folder} must hold {name} or {name}.gz")
    try:
        data = (path if path.is_file() else packed).read_bytes()
        if not path.is_file():
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{packed} must be a complete gzip file. Received: {error}"
        ) from error
    begin = 4 + 4 * dimensions  # each dimension is a big-endian uint32
    if data[:4] != _MAGIC + bytes([dimensions]) or len(data) < begin:
        raise ValueError(
            f"{folder / name} must begin as an IDX file of {dimensions} dimensions. "
            f"Received: {data[:4]!r}"
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dimensions, offset=4))
    if len(data) - begin != np.prod(shape) or not np.prod(shape):
        raise ValueError(
            f"{folder / name} must hold {' x '.join(map(str, shape))} bytes, at least "
            f"one. Received: {len(data) - begin} bytes"
        )
    return np.frombuffer(data, np.uint8, offset=begin).reshape(shape)
