"""AutoAugment, RandAugment, AugMix and RandomErasing."""

from __future__ import annotations

import math
from typing import Any

from ..common.choices import check_count, did_you_mean
from .layers import ImageAugmentation, serializable

COMPAT = ("exact", "fixed")
POLICIES = ("v0",)


class _PolicyAugmentation(ImageAugmentation):
    """Base class of augmentations that compose operations on uint8 pixels.

    Args:
        compat: "exact" or "fixed".
        compiled: Whether XLA compiles the operations.
        seed: Seed or None.
    """

    def __init__(self, compat: str, compiled: bool, seed: int | None) -> None:
        super().__init__(seed)
        check_choice("compat", compat, COMPAT)
        self.compat = compat
        self.compiled = compiled
        # One function per image size, so that eager calls compile once.
        self._functions: dict[int, tuple[Any, int]] = {}

    def augment_image(self, image: Any, seed: Any) -> Any:
        from .policies import apply_policy, compile_policy

        size = square_size(image, type(self).__name__)
        if size not in self._functions:
            policy, uniforms = self._make_policy(size)
            function = compile_policy(policy, jit_compile=self.compiled)
            self._functions[size] = function, uniforms
        return apply_policy(*self._functions[size], image, seed)

    def get_config(self) -> dict[str, Any]:
        return {
            "compat": self.compat,
            "compiled": self.compiled,
            **super().get_config(),
        }

    def _make_policy(self, size: int) -> tuple[Any, int]:
        raise NotImplementedError


@serializable
class AutoAugment(_PolicyAugmentation):
    """AutoAugment: one of 25 learned pairs of operations per image.

    Images are (size, size, 3), uint8 or float, 0 to 255, or a batch of them. Float
    images are truncated to whole numbers first; the result has the input's dtype.

    Args:
        policy: Name of the policy; "v0" is the one for ImageNet.
        compat: "exact" reproduces the original implementation's bugs, "fixed" corrects
            them; see docs/augmentation.md.
        compiled: Whether XLA compiles the operations. Without it, the results are
            identical but take several times as long.
        seed: Seed, see `RandomTransform`; None: a random one.

    Raises:
        ValueError: An argument is not one of its choices.

    Source:
        arXiv:1805.09501; tensorflow/tpu, autoaugment.py.
    """

    _stream = 1

    def __init__(
        self,
        policy: str = "v0",
        *,
        compat: str = "exact",
        compiled: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(compat, compiled, seed)
        check_choice("policy", policy, POLICIES)
        self.policy = policy

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"policy": self.policy, **super().get_config()}

    def _make_policy(self, size: int) -> tuple[Any, int]:
        from .policies import autoaugment

        return autoaugment(size, self.compat)


@serializable
class RandAugment(_PolicyAugmentation):
    """RandAugment: several of 16 operations per image, all at one strength.

    Images are (size, size, 3), uint8 or float, 0 to 255, or a batch of them. Float
    images are truncated to whole numbers first; the result has the input's dtype.

    Args:
        layers: Number of operations per image, at least 1.
        magnitude: Strength of the operations, at least 0; 10 is the nominal end.
        compat: "exact" reproduces the original implementation's bugs, "fixed" corrects
            them; see docs/augmentation.md.
        compiled: Whether XLA compiles the operations. Without it, the results are
            identical but take several times as long.
        seed: Seed, see `RandomTransform`; None: a random one.

    Raises:
        ValueError: An argument is out of range.

    Source:
        arXiv:1909.13719; tensorflow/tpu, autoaugment.py.
    """

    _stream = 2

    def __init__(
        self,
        layers: int = 2,
        magnitude: float = 10.0,
        *,
        compat: str = "exact",
        compiled: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(compat, compiled, seed)
        if not 0 <= magnitude < math.inf:
            raise ValueError(
                "`magnitude` must be finite and at least 0. "
                f"Received: magnitude={magnitude}"
            )
        self.layers = check_count("layers", layers)
        self.magnitude = magnitude

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        settings = {"layers": self.layers, "magnitude": self.magnitude}
        return {**settings, **super().get_config()}

    def _make_policy(self, size: int) -> tuple[Any, int]:
        from .policies import randaugment

        return randaugment(
            size, self.compat, layers=self.layers, magnitude=self.magnitude
        )


@serializable
class AugMix(_PolicyAugmentation):
    """AugMix: a random mixture of the image and three chains of operations on it.

    Only the images are mixed; the paper's consistency loss is not part of it.

    Images are (size, size, 3), uint8 or float, 0 to 255, or a batch of them. Float
    images are truncated to whole numbers first; the result has the input's dtype.

    Args:
        compat: "exact" or "fixed", which shears about the centre.
        compiled: Whether XLA compiles the operations. Without it, the results are
            identical but take several times as long.
        seed: Seed, see `RandomTransform`; None: a random one.

    Source:
        arXiv:1912.02781, algorithm 1.
    """

    _stream = 3

    def __init__(
        self, *, compat: str = "exact", compiled: bool = True, seed: int | None = None
    ) -> None:
        super().__init__(compat, compiled, seed)

    def _make_policy(self, size: int) -> tuple[Any, int]:
        from .policies import augmix

        return augmix(size, self.compat)


@serializable
class RandomErasing(ImageAugmentation):
    """Random erasing: replaces a random rectangle of the image with noise.

    Covers 2% to 33% of the area with an aspect ratio of 0.3 to 3.3, filled with values
    uniform in 0 to 255 (the paper's RE-R, its best variant).

    Images are (height, width, 3), uint8 or float, 0 to 255, with a static size, or a
    batch of them. The result has the input's dtype.

    Args:
        probability: Probability that an image is changed, 0 to 1.
        seed: Seed, see `RandomTransform`; None: a random one.

    Raises:
        ValueError: `probability` is out of range.

    Source:
        arXiv:1708.04896, algorithm 1.
    """

    _stream = 4

    def __init__(self, probability: float = 0.25, *, seed: int | None = None) -> None:
        super().__init__(seed)
        if not 0 <= probability <= 1:
            raise ValueError(
                f"`probability` must be 0 to 1. Received: probability={probability}"
            )
        self.probability = probability

    def augment_image(self, image: Any, seed: Any) -> Any:
        """Erases a rectangle of one image, with the given probability."""
        from .random_erasing import erase

        static_size(image, type(self).__name__)
        return erase(image, seed, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"probability": self.probability, **super().get_config()}


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that an argument is one of its choices.

    Raises:
        ValueError: It is not one of them.
    """
    if value not in choices:
        raise ValueError(
            f"`{argument}` must be one of {', '.join(choices)}."
            f"{did_you_mean(value, choices)} Received: {argument}={value!r}"
        )


def static_size(image: Any, name: str) -> tuple[int, int]:
    """Returns an image's height and width in pixels.

    Args:
        image: Tensor, (height, width, 3).
        name: Name of the augmentation, for the error message.

    Raises:
        ValueError: The size is not known before the graph runs.
    """
    height, width, channels = image.shape
    if height is None or width is None or channels is None:
        raise ValueError(
            f"`{name}` needs images of a static size: crop or resize them first, for "
            f"instance with TrainCrop(224). Received: an image of shape {image.shape}"
        )
    return height, width


def square_size(image: Any, name: str) -> int:
    """Returns the side of a square image in pixels.

    Args:
        image: Tensor, (size, size, 3).
        name: Name of the augmentation, for the error message.

    Raises:
        ValueError: The image is not square, or its size is not static.
    """
    height, width = static_size(image, name)
    if height != width:
        raise ValueError(
            f"`{name}` needs square images: crop or resize them first, for instance "
            f"with TrainCrop(224). Received: an image of shape {image.shape}"
        )
    return height
