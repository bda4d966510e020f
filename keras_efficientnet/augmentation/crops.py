"""Training and evaluation crops, with resizing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..preprocessing import EvalPreprocessing
from ..preprocessing.geometry import train_crop_areas
from ..preprocessing.numpy_ops import eval_image, read_pixels
from .layers import ImageAugmentation, check_backend, serializable


class _Crop(ImageAugmentation):
    """Base class of crops, which resize to a square."""

    _needs_full_range = False

    def __init__(
        self,
        image_size: int,
        crop_ratio: float | None,
        interpolation: str,
        crop_mode: str,
        seed: int | None,
    ) -> None:
        super().__init__(seed)
        self.preprocessing = EvalPreprocessing(
            image_size,
            crop_ratio,  # type: ignore[arg-type] # None: the default ratio
            interpolation,
            crop_mode,
        )

    def output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        size = self.preprocessing.image_size
        return (*shape[:-3], size, size, 3)

    def output_dtype(self, dtype: str) -> str:
        return "float32"

    def at_inference(self, images: Any) -> Any:
        check_backend(self)
        return EvalCrop(**_Crop.get_config(self))(images)

    def get_config(self) -> dict[str, Any]:
        return {
            "image_size": self.preprocessing.image_size,
            "crop_ratio": self.preprocessing.crop_ratio,
            "interpolation": self.preprocessing.interpolation,
            "crop_mode": self.preprocessing.crop_mode,
        }


@serializable
class TrainCrop(_Crop):
    """Random resized crop and horizontal flip, as in the training recipes.

    Crops `min_area` to 100% of the image's area with an aspect ratio of 3:4 to 4:3,
    resizes to a square, and flips half of the images. After ten failed attempts to find
    a crop it takes the centre, as evaluation does. Of an encoded JPEG only the crop is
    decoded.

    Images are (height, width, 3), uint8 or float, a batch of them, or encoded files (a
    string scalar). The result is (image_size, image_size, 3), float32, 0 to 255;
    bicubic interpolation overshoots a little at strong edges.

    Args:
        image_size: Side of the square result in pixels.
        crop_ratio: Ratio of the central crop, see `EvalPreprocessing`.
        interpolation: Resize method, one of `preprocessing.RESIZE_METHODS`.
        crop_mode: Shape of the central crop, see `EvalPreprocessing`.
        min_area: Smallest area of the random crop as a ratio to that of the image,
            above 0 and at most 1. None: areas from 8% on are drawn, and those under
            10% rejected, as in EfficientNet's recipe; EfficientNetV2's is 0.05.
        seed: Seed, see `RandomTransform`; None: a random one.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_random_crop`.
    """

    _stream = 0

    def __init__(
        self,
        image_size: int,
        *,
        crop_ratio: float | None = None,
        interpolation: str = "bicubic_legacy",
        crop_mode: str = "center",
        min_area: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(image_size, crop_ratio, interpolation, crop_mode, seed)
        train_crop_areas(min_area)  # checks it
        self.min_area = min_area

    def augment_image(self, image: Any, seed: Any) -> Any:
        """Crops, resizes and flips one image or encoded file at random."""
        from ..preprocessing import tf_ops

        return tf_ops.train_image(image, self.preprocessing, seed, self.min_area)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "min_area": self.min_area, "seed": self.seed}


@serializable
class EvalCrop(_Crop):
    """Central crop and resize, as in evaluation.

    The type of the input decides where it runs:

    - TensorFlow tensors, (height, width, 3), a batch of them or encoded files, and
      `tf.data` datasets: in TensorFlow, bit-identical to the trainer's evaluation.
    - A path, the bytes of a file, a PIL image, an array (height, width, 3) or (batch,
      height, width, 3), or a list of these: in NumPy, with Pillow to decode files.
      TensorFlow is not needed. On the same pixels the results differ by less than 0.01
      of 255; JPEG decoders differ by more, see docs/backends.md.

    Args:
        image_size: Side of the square result in pixels.
        crop_ratio: Side of the central crop as a ratio to the image's shorter side.
            None: `preprocessing.default_crop_ratio` of `image_size`.
        interpolation: Resize method, one of `preprocessing.RESIZE_METHODS`.
        crop_mode: Shape of the crop: "center", a square, or "squash", which has the
            aspect ratio of the image.

    Source:
        tensorflow/tpu, preprocessing.py: `_decode_and_center_crop`.

    Example:
        >>> EvalCrop(224)(np.zeros((375, 500, 3), np.uint8)).shape
        (224, 224, 3)
    """

    _stream = 0

    def __init__(
        self,
        image_size: int,
        *,
        crop_ratio: float | None = None,
        interpolation: str = "bicubic_legacy",
        crop_mode: str = "center",
    ) -> None:
        super().__init__(image_size, crop_ratio, interpolation, crop_mode, seed=0)

    def __call__(self, images: Any, *others: Any, seed: Any = None) -> Any:
        """Crops and resizes images.

        Args:
            images: See the class.
            *others: Other parts of a dataset's element, such as labels; returned
                unchanged.
            seed: Ignored; accepted so that crops are interchangeable.

        Returns:
            (image_size, image_size, 3), or (batch, image_size, image_size, 3),
            float32, 0 to 255: a tensor for a tensor, an array for anything else.

        Raises:
            ValueError: The images do not have three channels, or a file is unreadable.
        """
        if type(images).__module__.startswith("tensorflow."):
            return super().__call__(images, *others, seed=(0, 0))
        cropped = self._crop_arrays(images)
        return (cropped, *others) if others else cropped

    def augment_image(self, image: Any, seed: Any) -> Any:
        """Crops and resizes one image or encoded file; `seed` is not used."""
        from ..preprocessing import tf_ops

        del seed
        return tf_ops.eval_image(image, self.preprocessing)

    def _crop_arrays(self, images: Any) -> np.ndarray:
        if isinstance(images, (list, tuple)):
            return np.stack([self._crop_arrays(image) for image in images])
        if isinstance(images, (str, bytes, os.PathLike)):
            images = read_pixels(images)
        pixels = np.asarray(images.convert("RGB") if _is_pil(images) else images)
        if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
            raise ValueError(
                "`images` must be of shape (height, width, 3) or (batch, height, "
                f"width, 3). Received: images of shape {pixels.shape}"
            )
        if pixels.ndim == 3:
            return eval_image(pixels, self.preprocessing)
        return np.stack([eval_image(image, self.preprocessing) for image in pixels])


def _is_pil(image: Any) -> bool:
    return type(image).__module__.startswith("PIL.")
