"""The tensor that a network begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


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
