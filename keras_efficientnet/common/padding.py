"""TensorFlow's SAME padding."""

from __future__ import annotations


def same_padding(side: int, kernel: int, stride: int = 1) -> tuple[int, int]:
    """Returns the number of pixels that SAME padding adds before and after one axis.

    The output has `ceil(side / stride)` positions; an odd pixel is added at the end.

    Args:
        side: Size of the image along one axis, pixels.
        kernel: Size of the kernel along that axis, pixels, including the gaps of a
            dilated kernel.
        stride: Stride along that axis, pixels.

    Source:
        tensorflow/core/framework/common_shape_fns.cc, GetWindowedOutputSize.

    Example:
        >>> same_padding(224, kernel=3, stride=2), same_padding(7, kernel=5)
        ((0, 1), (2, 2))
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
