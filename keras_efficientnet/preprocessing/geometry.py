"""Crop geometry and normalisation constants, without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..common.choices import check_choice

# Mean and standard deviation per RGB channel, for pixels 0 to 255. Source:
# tensorflow/tpu, efficientnet_builder.py, efficientnet_lite_builder.py and main.py
# (--advprop_preprocessing, here "inception"); "inception128": google/automl,
# efficientnetv2/preprocessing.py.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": (
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    "inception": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "inception128": ((128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

# Random training crop: range of width / height, and of its share of the image area.
# Source: tensorflow/tpu, preprocessing.py: `_decode_and_random_crop`.
ASPECT_RANGE = (np.float32(3 / 4), np.float32(4 / 3))
AREA_RANGE = (np.float32(0.08), np.float32(1.0))
MIN_COVERED = np.float32(0.1)

# Files that `tf_ops.decode_image` reads; those in the second line need Pillow.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".avif"),
)

RESIZE_METHODS = ("bicubic_legacy", "bicubic", "bilinear", "bilinear_no_antialias")
CROP_MODES = ("center", "squash")


@dataclasses.dataclass(frozen=True)
class EvalPreprocessing:
    """Preprocessing for evaluation: central crop and resize.

    Attributes:
        image_size: Side of the square result, pixels.
        crop_ratio: Side of the central crop as a ratio to the shorter side of the
            image, above 0 and at most 1. Defaults to `default_crop_ratio(image_size)`.
            With `crop_mode="squash"`, the ratio of the crop's height and width to those
            of the image.
        interpolation: "bicubic_legacy" (TensorFlow 1's bicubic without antialiasing,
            which published accuracies were measured with), "bicubic" (antialiased),
            "bilinear" (antialiased) or "bilinear_no_antialias" (as in google/automl).
        crop_mode: Shape of the crop: "center", a square, or "squash", which has the
            aspect ratio of the image and is resized to a square. The larger networks of
            EfficientNetV2 were evaluated on squashed images.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_center_crop`; "squash",
        google/automl, efficientnetv2/preprocessing.py: `preprocess_for_eval`, and timm,
        data/transforms_factory.py.
    """

    image_size: int
    crop_ratio: float = None  # type: ignore[assignment] # a float after __post_init__
    interpolation: str = "bicubic_legacy"
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(
                "`image_size` must be at least 1 pixel. "
                f"Received: image_size={self.image_size}"
            )
        if self.crop_ratio is None:
            ratio = default_crop_ratio(self.image_size)
            object.__setattr__(self, "crop_ratio", ratio)
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(
                "`crop_ratio` must be above 0 and at most 1. "
                f"Received: crop_ratio={self.crop_ratio}"
            )
        if self.interpolation not in RESIZE_METHODS:
            raise ValueError(
                f"`interpolation` must be one of {', '.join(RESIZE_METHODS)}. "
                f"Received: interpolation={self.interpolation!r}"
            )
        check_choice("crop_mode", self.crop_mode, CROP_MODES)


def default_crop_ratio(image_size: int) -> float:
    """Returns the default crop ratio of evaluation for an image size.

    Published networks were evaluated on the central `image_size` of `image_size + 32`
    pixels.
    Below 224 pixels that would crop too much, so the ratio stays at 0.875.

    Args:
        image_size: Side of the network's input, pixels.

    Source:
        tensorflow/tpu, preprocessing.py: CROP_PADDING.

    Example:
        >>> default_crop_ratio(96), default_crop_ratio(224), default_crop_ratio(480)
        (0.875, 0.875, 0.9375)
    """
    return max(0.875, image_size / (image_size + 32))


def channel_statistics(kind: str, channels: int) -> tuple[list[float], list[float]]:
    """Returns the mean and standard deviation of each input channel.

    Args:
        kind: Key of `NORMALIZATIONS`.
        channels: Number of input channels. One channel gets the mean over RGB; more
            than three repeat RGB.

    Returns:
        Two lists of `channels` floats, for pixels 0 to 255.
    """
    mean, std = NORMALIZATIONS[kind]
    if channels == 1:
        return [math.fsum(mean) / 3], [math.fsum(std) / 3]
    repeated = range(channels)
    return [mean[i % 3] for i in repeated], [std[i % 3] for i in repeated]


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns `x` unchanged: the networks normalise pixels 0 to 255 themselves.

    It exists so that you can port code from keras.applications by changing one import.

    Args:
        x: Images, (batch, height, width, 3), 0 to 255.
        data_format: Ignored.
    """
    del data_format
    return x


def eval_crop(
    height: int, width: int, spec: EvalPreprocessing
) -> tuple[int, int, int, int]:
    """Computes the central crop of evaluation.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        spec: Preprocessing, of which the crop ratio and mode are used.

    Returns:
        (top, left, crop height, crop width), pixels.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_center_crop`. As there, the
        product is computed in float32 and truncated.

    Example:
        >>> eval_crop(375, 500, EvalPreprocessing(224))
        (24, 86, 328, 328)
        >>> eval_crop(375, 500, EvalPreprocessing(480, 1.0, crop_mode="squash"))
        (0, 0, 375, 500)
    """
    whole = (height, width)
    if spec.crop_mode == "center":
        whole = (min(whole), min(whole))
    ratio = np.float32(spec.crop_ratio)
    rows, columns = (max(1, int(ratio * np.float32(length))) for length in whole)
    return (height - rows + 1) // 2, (width - columns + 1) // 2, rows, columns


def train_crop_areas(min_area: float | None) -> tuple[np.float32, np.float32]:
    """Returns the smallest area to draw for a random training crop, and to accept.

    Args:
        min_area: Smallest area of the crop as a ratio to that of the image, above 0 and
            at most 1. None: areas from 8% on are drawn, and those under 10% rejected.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_random_crop`; google/automl,
        efficientnetv2/preprocessing.py, where `min_area` is 0.05.
    """
    if min_area is None:
        return AREA_RANGE[0], MIN_COVERED
    if not 0 < min_area <= 1:
        raise ValueError(
            f"`min_area` must be above 0 and at most 1. Received: min_area={min_area}"
        )
    return np.float32(min_area), np.float32(0)


def train_crop(
    height: int, width: int, uniforms: Any, min_area: float | None = None
) -> tuple[int, int, int, int]:
    """Computes the random crop of training.

    Each attempt draws the aspect ratio uniformly from 3/4 to 4/3, then an integer
    height uniformly among those that fit and give at least the smallest area, then the
    position. The first crop that is large enough is returned; if there is none, the
    whole image.

    Args:
        height: Height of the image, pixels.
        width: Width of the image, pixels.
        uniforms: Random numbers, (attempts, 4), float32 in [0, 1), for aspect ratio,
            height, top and left. The paper's recipe uses ten attempts.
        min_area: Smallest area, see `train_crop_areas`.

    Returns:
        (top, left, crop height, crop width), pixels.

    Source:
        tensorflow/tpu, preprocessing.py: `distorted_bounding_box_crop`; order of the
        draws: tensorflow, sample_distorted_bounding_box_op.cc.
    """
    f32 = np.float32
    smallest, accepted = train_crop_areas(min_area)
    area = f32(height) * f32(width)
    for u_aspect, u_height, u_top, u_left in np.asarray(uniforms, f32):
        aspect = ASPECT_RANGE[0] + u_aspect * (ASPECT_RANGE[1] - ASPECT_RANGE[0])
        tallest = min(
            int(np.rint(np.sqrt(AREA_RANGE[1] * area / aspect))),
            int((f32(width) + f32(0.5)) / aspect),
            height,
        )
        lowest = min(int(np.rint(np.sqrt(smallest * area / aspect))), tallest)
        crop_height = lowest + int(u_height * f32(tallest - lowest + 1))
        crop_width = int(np.rint(f32(crop_height) * aspect))
        covered = f32(crop_height) * f32(crop_width)
        if crop_width <= width and accepted * area <= covered:
            top = int(u_top * f32(height - crop_height))
            left = int(u_left * f32(width - crop_width))
            return top, left, crop_height, crop_width
    return 0, 0, height, width
