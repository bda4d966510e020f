"""What a network takes: its input tensor, checked and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .preprocessing import channel_statistics


def image_input(
    tensor: Any,
    shape: Sequence[int | None] | None,
    in_channels: int | None,
    default_size: int | None,
    smallest: int,
) -> Any:
    """Returns the tensor that a network begins with.

    Args:
        tensor: The user's, (batch, height, width, channels); None makes an input.
        shape: (height, width, channels) of the input; None: of `default_size`.
        in_channels: Channels; None takes them from `shape` or `tensor`, else 3.
        default_size: Side, pixels; None: any.
        smallest: Least side, pixels.

    Raises:
        ValueError: A shape is not usable.
    """
    if tensor is not None:
        _check_input_shape(tuple(tensor.shape[1:]), in_channels, smallest)
        return tensor
    if shape is None:
        shape = (default_size, default_size, in_channels or 3)
    _check_input_shape(tuple(shape), in_channels, smallest)
    return keras.Input(tuple(shape))


def source(image: Any) -> Any:
    """Returns the input or inputs that a tensor is computed from."""
    sources = keras.utils.get_source_inputs(image)
    return sources[0] if len(sources) == 1 else sources


def normalize(x: Any, kind: str) -> Any:
    """Subtracts the mean and divides by the deviation of published training images.

    Args:
        x: Pixels, (batch, height, width, channels), 0 to 255.
        kind: Key of `NORMALIZATIONS`; "none" returns `x`.

    Returns:
        Images of the same shape, float32.
    """
    if kind == "none":
        return x
    mean, std = channel_statistics(kind, x.shape[-1])
    return layers.Rescaling(
        [1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",  # bfloat16 would round the pixels before the subtraction
        name="normalization",
    )(x)


def _check_input_shape(
    shape: tuple[Any, ...], in_channels: int | None, smallest: int
) -> None:
    if len(shape) != 3 or not shape[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), with channels known. "
            f"Received: input_shape={shape}"
        )
    if in_channels is not None and shape[-1] != in_channels:
        raise ValueError(
            "`in_channels` must equal the channels of `input_shape`. "
            f"Received: in_channels={in_channels}, input_shape={shape}"
        )
    if any(side is not None and side < smallest for side in shape[:2]):
        raise ValueError(
            f"`input_shape` must be at least {smallest} pixels high and wide. "
            f"Received: input_shape={shape}"
        )
