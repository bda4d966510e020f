"""Base class of image augmentations, and the layer that applies one in a model."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from .base import RandomTransform, tensorflow_calls

serializable = keras.saving.register_keras_serializable("keras_efficientnet")


class ImageAugmentation(RandomTransform):
    """Base class of transforms that process each image independently."""

    # Whether the operations assume pixel values of 0 to 255.
    _needs_full_range: ClassVar[bool] = True

    def augment_image(self, image: Any, seed: Any) -> Any:
        """Transforms one image, as a TensorFlow graph; the trainer calls this.

        Args:
            image: (height, width, 3), uint8 or float, 0 to 255.
            seed: (2,), integer; the same seed gives the same result.
        """
        raise NotImplementedError

    def at_inference(self, images: Any) -> Any:
        """Returns what a layer of this augmentation outputs outside training.

        Args:
            images: (batch, height, width, 3).
        """
        return images

    def output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the output shape for an input shape."""
        return shape

    def output_dtype(self, dtype: str) -> str:
        """Returns the output dtype for an input dtype."""
        return dtype

    def as_layer(self, name: str | None = None) -> Any:
        """Creates a layer that augments during training only.

        Args:
            name: Name of the layer.

        Returns:
            An `AugmentationLayer`; it is saved with the model.

        Raises:
            RuntimeError: Keras uses a backend other than TensorFlow.
        """
        check_backend(self)
        return AugmentationLayer(self, name=name)

    def _transform(self, images: Any, *others: Any, seed: Any) -> Any:
        calls = tensorflow_calls(type(self).__name__)
        images = calls.to_images(images, type(self).__name__)
        if self._needs_full_range:
            images = calls.warn_about_unit_range(images, type(self).__name__)
        augmented = calls.map_images(self, images, seed)
        return (augmented, *others) if others else augmented


@serializable
class AugmentationLayer(keras.layers.Layer):
    """Layer that augments images in training; see `ImageAugmentation.as_layer`.

    Augments with `training=True` and on TensorFlow only. At inference it returns the
    images unchanged, on every backend; crops take the central crop instead, which also
    needs TensorFlow. After loading, the random draws start over, as Dropout's do.

    Args:
        augmentation: An `ImageAugmentation`, or its serialized form.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        TypeError: `augmentation` is something else.
    """

    def __init__(self, augmentation: Any, **kwargs: Any) -> None:
        # Without autocast, so that pixels are not rounded to half precision.
        super().__init__(**{"autocast": False, **kwargs})
        if isinstance(augmentation, dict):
            augmentation = keras.saving.deserialize_keras_object(augmentation)
        if not isinstance(augmentation, ImageAugmentation):
            raise TypeError(
                "`augmentation` must be an augmentation of images, such as "
                f"AutoAugment(). Received: augmentation={augmentation!r}"
            )
        self.augmentation = augmentation
        self.seed_generator = keras.random.SeedGenerator(augmentation.seed)
        self.supports_jit = False  # the range check calls Python

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Augments a batch of images.

        Args:
            images: (batch, height, width, 3), 0 to 255.
            training: Whether to augment.

        Raises:
            RuntimeError: `training` is True on a backend other than TensorFlow.
        """
        if not training:
            return self.augmentation.at_inference(images)
        check_backend(self.augmentation)
        calls = tensorflow_calls(type(self.augmentation).__name__)
        seed = calls.replica_seed(self.seed_generator.next())
        return self.augmentation(images, seed=seed)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Returns the shape of the augmented images."""
        return self.augmentation.output_shape(tuple(input_shape))

    def compute_output_spec(self, images: Any, training: bool | None = None) -> Any:
        """Returns the shape and dtype of the augmented images."""
        return keras.KerasTensor(
            self.compute_output_shape(images.shape),
            self.augmentation.output_dtype(images.dtype),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the layer's arguments, the augmentation in serialized form."""
        serialized = keras.saving.serialize_keras_object(self.augmentation)
        return {**super().get_config(), "augmentation": serialized}


def check_backend(augmentation: ImageAugmentation) -> None:
    """Checks that an augmentation can run inside a model.

    Raises:
        RuntimeError: Keras uses a backend other than TensorFlow, or is not Keras 3.
    """
    if not hasattr(keras, "ops"):
        raise RuntimeError(
            f"Keras 3 must be installed to use `{type(augmentation).__name__}` inside "
            f"a model: use `dataset.apply`. Received: {keras.__version__}"
        )
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"`{type(augmentation).__name__}` augments inside a model on the "
            "TensorFlow backend only: use `dataset.apply` of a tf.data pipeline, which "
            f"feeds any backend. Received: backend={keras.backend.backend()!r}"
        )
