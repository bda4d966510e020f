"""TensorFlow's SAME padding."""

from __future__ import annotations


def same_padding(side: int, kernel: int, stride: int = 1) -> tuple[int, int]:
    """Returns how many pixels SAME padding adds before and after one side.

    The output has `ceil(side / stride)` positions; the odd pixel goes to the end.

    Args:
        side: Size of the image along one axis, pixels.
        kernel: Size of the kernel along that axis, pixels; of a dilated kernel, from
            its first to its last pixel.
        stride: Distance between neighbouring positions, pixels.

    Source:
        tensorflow/core/framework/common_shape_fns.cc, GetWindowedOutputSize.

    Example:
        >>> same_padding(224, kernel=3, stride=2), same_padding(7, kernel=5)
        ((0, 1), (2, 2))
    """
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2
