"""Images of a data set to prepare: location, conversion, record."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.preprocessing import tf_ops
from keras_efficientnet.preprocessing.file_limits import MAX_BYTES, check_image

CONVERTED_QUALITY = 100  # source: tensorflow/tpu, imagenet_to_gcs.py: ImageCoder
_JPEG_NAME = re.compile(r"\.(jpe?g|jfif)$", re.IGNORECASE)


class BadImageError(ValueError):
    """An image cannot be decoded; the message names it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageEntry:
    """Location of a labelled image.

    Attributes:
        name: Name of the image, such as "cat/1.jpg".
        label: Class index.
        path: Path of the image file, or of the tar file that contains it.
        start: Offset of the image in that file, bytes.
        size: Size of the image, bytes. None: up to the end of the file.
    """

    name: str
    label: int
    path: str
    start: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """Reads the encoded image.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file ends before the image does.
        """
        with open(self.path, "rb") as stream:
            stream.seek(self.start)
            found = stream.read(MAX_BYTES + 1 if self.size is None else self.size)
        if self.size is not None and len(found) != self.size:
            raise ValueError(f"{self.path} has been truncated since it was listed")
        return found


@dataclasses.dataclass(frozen=True)
class ImageList:
    """Labelled images to prepare.

    Attributes:
        class_names: Names of the classes, in index order.
        splits: Split -> its images.
        digest: Checksum of the names, sizes and labels of all images.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, list[ImageEntry]]
    digest: str


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Conversion of the images.

    Attributes:
        resize: Maximum length of the shorter side, pixels; larger images are resized.
            None: no resizing.
        quality: JPEG quality of resized images, 1 to 100.
    """

    resize: int | None = None
    quality: int = 95


def make_record(entry: ImageEntry, class_name: str, conversion: Conversion) -> bytes:
    """Reads an image and returns its record.

    Args:
        entry: Location and label of the image.
        class_name: Name of its class.
        conversion: Size and quality.

    Returns:
        Serialized tf.train.Example with the features of the original's records.

    Raises:
        BadImageError: The image cannot be decoded.
        OSError: The file cannot be read.

    Source:
        tensorflow/tpu, tools/datasets/imagenet_to_gcs.py: `_convert_to_example`.
    """
    encoded = entry.read()
    try:
        encoded, kind, (height, width) = convert(encoded, entry.name, conversion)
    except ValueError as error:
        raise BadImageError(f"{entry.name}: {error}") from error
    features: dict[str, bytes | int] = {
        "image/height": height,
        "image/width": width,
        "image/colorspace": b"RGB",
        "image/channels": 3,
        "image/class/label": entry.label + 1,
        "image/class/synset": class_name.encode(),
        "image/format": kind.encode(),
        "image/filename": entry.name.encode("utf-8", "surrogateescape"),
        "image/encoded": encoded,
    }
    example = tf.train.Example()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    # The order of a map's entries is otherwise arbitrary.
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def convert(
    encoded: bytes, name: str, conversion: Conversion
) -> tuple[bytes, str, tuple[int, int]]:
    """Decodes an image and converts it if necessary.

    CMYK images, and images that are not JPEG files although their names end in .jpg or
    .JPEG, become RGB JPEG files: ImageNet has 22 and 1 of them. Images above the
    requested size are resized. All others keep their bytes.

    Args:
        encoded: Content of the file.
        name: Name of the image.
        conversion: Size and quality.

    Returns:
        (encoded image, name of its format, (height, width) as it is displayed).

    Raises:
        ValueError: The image cannot be decoded; the message is the reason.

    Source:
        tensorflow/tpu, imagenet_to_gcs.py: `_process_image`, which lists these files by
        name.
    """
    check_image(encoded)
    with Image.open(io.BytesIO(encoded)) as header:
        kind, is_cmyk = header.format or "", header.mode == "CMYK"
    try:
        pixels = tf_ops.pixels(tf.constant(encoded)).numpy()
    except tf.errors.OpError as error:
        raise ValueError(tf_reason(error)) from error
    size = pixels.shape[:2]
    if conversion.resize is not None and min(size) > conversion.resize:
        pixels = _resize(pixels, conversion.resize)
        return _encode(pixels, conversion.quality), "JPEG", pixels.shape[:2]
    is_misnamed = kind != "JPEG" and _JPEG_NAME.search(name) is not None
    if is_misnamed or (kind == "JPEG" and is_cmyk):
        return _encode(pixels, CONVERTED_QUALITY), "JPEG", size
    return encoded, kind, size


def _resize(pixels: np.ndarray, shorter_side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = shorter_side / min(height, width)
    target = (round(width * scale), round(height * scale))
    resized = Image.fromarray(pixels).resize(target, Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _encode(pixels: np.ndarray, quality: int) -> bytes:
    encoded: bytes = tf.io.encode_jpeg(pixels, format="rgb", quality=quality).numpy()
    return encoded
