"""Image preprocessing and decoding of predictions."""

from .geometry import (
    AREA_RANGE,
    ASPECT_RANGE,
    CROP_MODES,
    IMAGE_SUFFIXES,
    MIN_COVERED,
    NORMALIZATIONS,
    RESIZE_METHODS,
    EvalPreprocessing,
    channel_statistics,
    default_crop_ratio,
    eval_crop,
    preprocess_input,
    train_crop,
)
from .labels import decode_predictions, imagenet_classes

__all__ = [
    "AREA_RANGE",
    "ASPECT_RANGE",
    "CROP_MODES",
    "IMAGE_SUFFIXES",
    "MIN_COVERED",
    "NORMALIZATIONS",
    "RESIZE_METHODS",
    "EvalPreprocessing",
    "channel_statistics",
    "decode_predictions",
    "default_crop_ratio",
    "eval_crop",
    "imagenet_classes",
    "preprocess_input",
    "train_crop",
]
