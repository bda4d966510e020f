"""Confidence intervals of proportions."""

from __future__ import annotations

import math

Z_95 = 1.959963985  # 97.5% quantile of the standard normal distribution


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Returns the 95% confidence interval of a proportion by Wilson's score method.

    Args:
        right: Number of correctly classified images.
        images: Total number of images, at least 1.

    Returns:
        Lower and upper bound, ratios.

    Source:
        E. B. Wilson, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> [round(share, 4) for share in wilson_interval(81, 263)]
        [0.2553, 0.3662]
    """
    share, rest = right / images, Z_95**2 / images
    centre = share + rest / 2
    spread = Z_95 * math.sqrt((share * (1 - share) + rest / 4) / images)
    low, high = (centre - spread) / (1 + rest), (centre + spread) / (1 + rest)
    return (low if right else 0.0), (high if right < images else 1.0)
