"""Compound scaling and its rounding rules."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Depth, width and resolution of a network relative to its base network.

    Attributes:
        depth: Ratio of the number of layers to the base network's.
        width: Ratio of the number of channels to the base network's.
        resolution: Ratio of the image side to the base network's.

    Raises:
        ValueError: A ratio is not a finite number above 0.

    Source:
        arXiv:1905.11946, section 3.2.
    """

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_positive(field.name, getattr(self, field.name))

    def image_size(self, base: int = 224) -> int:
        """Returns the image side in pixels, rounded to the nearest integer.

        Args:
            base: Image side of the base network, pixels.

        Example:
            >>> Scaling(resolution=1.15).image_size()
            258
        """
        return round(base * self.resolution)


def compound(
    phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15
) -> Scaling:
    """Scales depth, width and resolution by one compound coefficient.

    Multiply-adds grow by about `(alpha * beta**2 * gamma**2) ** phi`, which is about `2
    ** phi` for the default coefficients.

    Args:
        phi: Compound coefficient; 0 gives the base network. It may be fractional, and
            negative for smaller networks.
        alpha: Depth ratio of one step of `phi`.
        beta: Width ratio of one step of `phi`.
        gamma: Resolution ratio of one step of `phi`.

    Raises:
        ValueError: `phi` is not finite, or a coefficient is not above 0.

    Source:
        arXiv:1905.11946, equation 3; coefficients: section 4, step 1.

    Example:
        >>> compound(1)
        Scaling(depth=1.2, width=1.1, resolution=1.15)
    """
    if not math.isfinite(phi):
        raise ValueError(f"`phi` must be a finite number. Received: phi={phi}")
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        check_positive(name, value)
    return Scaling(depth=alpha**phi, width=beta**phi, resolution=gamma**phi)


def round_filters(
    filters: int, width: float, divisor: int = 8, limit: float = 0.9
) -> int:
    """Scales a channel count and rounds it to a multiple of `divisor`.

    Rounds to the nearest multiple, or up if that would lose more than 10%.

    Args:
        filters: Number of channels of the unscaled network, at least 1.
        width: Width multiplier w, above 0; 1.0 for B0.
        divisor: Number that the result is a multiple of.
        limit: Smallest allowed ratio of the result to the exact value; 0 always takes
            the nearest multiple, as EfficientNetV2 does.

    Raises:
        ValueError: `filters`, `width` or `divisor` is not above 0.

    Source:
        arXiv:1801.04381 (rounding); arXiv:1905.11946, section 3.3 (w); V2,
        google/automl, efficientnetv2/effnetv2_model.py.

    Example:
        >>> round_filters(32, 1.1), round_filters(320, 4.3)
        (32, 1376)
    """
    check_positive("filters", filters)
    check_positive("width", width)
    check_positive("divisor", divisor)
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * scaled else rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scales the number of blocks of a stage and rounds it up.

    Args:
        repeats: Number of blocks of the unscaled stage, at least 1.
        depth: Depth multiplier d, above 0; 1.0 for B0.

    Raises:
        ValueError: `repeats` or `depth` is not above 0.

    Source:
        tensorflow/tpu, models/official/efficientnet/efficientnet_model.py.

    Example:
        >>> round_repeats(3, 1.1)
        4
    """
    check_positive("repeats", repeats)
    check_positive("depth", depth)
    return math.ceil(repeats * depth)


def check_positive(name: str, value: float) -> None:
    """Checks that a number is finite and above 0.

    Args:
        name: Name of the argument, for the error message.
        value: Value of the argument.

    Raises:
        ValueError: The value is not finite or not above 0.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"`{name}` must be a finite number above 0. Received: {name}={value}"
        )
