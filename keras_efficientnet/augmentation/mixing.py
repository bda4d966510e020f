"""MixUp and CutMix on batches of images and labels."""

from __future__ import annotations

import math
from typing import Any

from .base import RandomTransform, tensorflow_calls


class _Mixing(RandomTransform):
    """Base class of transforms that mix each image with its mirror in the batch."""

    def __init__(self, alpha: float, num_classes: int | None, seed: int | None) -> None:
        super().__init__(seed)
        if not 0 < alpha < math.inf:
            raise ValueError(
                f"`alpha` must be finite and above 0. Received: alpha={alpha}"
            )
        if num_classes is not None and num_classes < 1:
            raise ValueError(
                f"`num_classes` must be at least 1. Received: num_classes={num_classes}"
            )
        self.alpha = alpha
        self.num_classes = num_classes

    def mix_batch(self, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mixes a batch, as a TensorFlow graph; the trainer calls this.

        Args:
            images: (batch, height, width, 3), float32.
            targets: (batch, classes), float32.
            seed: (2,), integer; the same seed gives the same result.
        """
        raise NotImplementedError

    def as_layer(self, name: str | None = None) -> Any:
        """Raises an error: a layer cannot change the labels that `fit` compares with.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"`{type(self).__name__}` also mixes the labels, which a layer inside a "
            "model cannot: use `dataset.apply` after `dataset.batch`. "
            f"Received: as_layer(name={name!r})"
        )

    def get_config(self) -> dict[str, Any]:
        settings = {"alpha": self.alpha, "num_classes": self.num_classes}
        return {**settings, **super().get_config()}

    def _transform(self, images: Any, *others: Any, seed: Any) -> tuple[Any, Any]:
        name = type(self).__name__
        if len(others) != 1:
            raise ValueError(
                f"`{name}` takes images and labels, and cannot mix anything else, such "
                f"as sample weights. Received: {1 + len(others)} arguments"
            )
        calls = tensorflow_calls(name)
        images, targets = calls.to_batch(images, others[0], self.num_classes, name)
        return self.mix_batch(images, targets, seed)


class MixUp(_Mixing):
    """MixUp: a weighted sum of each image and its mirror in the batch.

    Batch the dataset first. Call it with images, (batch, height, width, 3), uint8 or
    float in any range, and labels: integers, (batch,), with `num_classes`, or rows of
    probabilities, (batch, num_classes). Both come back as float32, the labels as
    rows, so train with `CategoricalCrossentropy`. Each image has a weight of its own,
    which is at least one half.

    Args:
        alpha: Parameter of the Beta distribution of the weights, above 0.
        num_classes: Number of classes; required for integer labels.
        seed: Seed, see `RandomTransform`; None: a random one.

    Raises:
        ValueError: An argument is out of range.

    Source:
        arXiv:1710.09412; tensorflow/tpu, imagenet_input.py: `mixup`.
    """

    _stream = 5

    def __init__(
        self,
        alpha: float = 0.2,
        *,
        num_classes: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(alpha, num_classes, seed)

    def mix_batch(self, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mixes a batch of float32 images and rows of labels."""
        from .mixing_ops import mixup

        return mixup(images, targets, seed, self.alpha)


class CutMix(_Mixing):
    """CutMix: a rectangle of each image comes from its mirror in the batch.

    Batch the dataset first. Call it with images, (batch, height, width, 3), uint8 or
    float in any range, and labels: integers, (batch,), with `num_classes`, or rows of
    probabilities, (batch, num_classes). Both come back as float32, the labels as
    rows mixed by area, so train with `CategoricalCrossentropy`. Each image has its own
    rectangle; the paper draws one per batch.

    Args:
        alpha: Parameter of the Beta distribution of the area that stays, above 0.
        num_classes: Number of classes; required for integer labels.
        seed: Seed, see `RandomTransform`; None: a random one.

    Raises:
        ValueError: An argument is out of range.

    Source:
        arXiv:1905.04899, section 3.1 and algorithm A1.
    """

    _stream = 6

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        num_classes: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(alpha, num_classes, seed)

    def mix_batch(self, images: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
        """Mixes a batch of float32 images and rows of labels."""
        from .mixing_ops import cutmix

        return cutmix(images, targets, seed, self.alpha)
