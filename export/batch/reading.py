"""Reads and decodes the images of a listing."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.file_limits import MAX_BYTES, check_image
from keras_efficientnet.preprocessing.tf_files import compile_eval_image, decode_pixels

from .inputs import open_array_record, open_stream
from .listing import ImageLocation

FEATURE = "image/encoded"  # of a tf.train.Example, as tensorflow/tpu writes them


class ImageReader:
    """Reads images as evaluation sees them; threads may share it.

    Args:
        spec: Crop, size and resize method.
        channels: Number of channels of the model's input: 1, 3 or 4.
    """

    def __init__(self, spec: EvalPreprocessing, channels: int) -> None:
        self._spec = spec
        self._channels = channels
        self._eval_image = compile_eval_image(spec)
        self._lock = threading.Lock()
        self._records: dict[str, object] = {}  # open ArrayRecord files by path

    def __call__(self, location: ImageLocation) -> np.ndarray:
        """Reads one image.

        Args:
            location: Location of the image.

        Returns:
            See `tf_files.read_image`.

        Raises:
            ValueError: The image cannot be read; the message is the reason.
        """
        try:
            encoded = self._read(location)
            check_image(encoded)
            return decode_pixels(encoded, self._spec, self._channels, self._eval_image)
        except (tf.errors.OpError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or tf_reason(error)
            raise ValueError(reason) from error

    def _read(self, location: ImageLocation) -> bytes:
        if location.kind == "arrayrecord":
            return _image_of(self._read_record(location))
        with open_stream(location.container or location.path) as file:
            if not location.container:
                return file.read(MAX_BYTES + 1)
            file.seek(location.start)
            found = file.read(location.size)
        if len(found) != location.size:
            raise ValueError("its container ends before it")
        return _image_of(found) if location.kind == "tfrecord" else found

    def _read_record(self, location: ImageLocation) -> bytes:
        with self._lock:
            if location.container not in self._records:
                self._records = {
                    location.container: open_array_record(location.container)
                }
            found: bytes = self._records[location.container][location.start]  # type: ignore[index]
        return found


def decode_locations(
    read: ImageReader, locations: Sequence[ImageLocation]
) -> tuple[list[np.ndarray], dict[int, str]]:
    """Reads images; returns the good ones, and the reasons of others by position."""
    images: list[np.ndarray] = []
    errors: dict[int, str] = {}
    for place, location in enumerate(locations):
        try:
            images.append(read(location))
        except ValueError as error:
            errors[place] = str(error)
    return images, errors


def _image_of(record: bytes) -> bytes:
    """Returns the encoded image of a record: of a tf.train.Example, its feature."""
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return record
    if FEATURE in features and features[FEATURE].bytes_list.value:
        return bytes(features[FEATURE].bytes_list.value[0])
    return record
