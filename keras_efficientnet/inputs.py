"""The tensor that a network begins with."""

from __future__ import annotations

import operator
import reprlib
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
        tensor: User's Keras tensor, (batch, height, width, channels); None makes an
            input.
        shape: (height, width, channels) of the input; None takes `default_size`.
        in_channels: Number of channels; None takes that of `shape` or `tensor`, else 3.
        default_size: Side of the images, pixels; None: any.
        smallest: Least side, pixels.

    Raises:
        TypeError: `tensor` is no Keras tensor.
        ValueError: A shape is not usable.
    """
    if tensor is not None:
        if not hasattr(tensor, "_keras_history"):
            kind = type(tensor)
            raise TypeError(
                "`input_tensor` must be a Keras tensor, such as "
                "`keras.Input((224, 224, 3))`; to classify images, call the model on "
                f"them. Received: input_tensor of type {kind.__module__}."
                f"{kind.__qualname__}"
            )
        _checked_shape(tensor.shape[1:], in_channels, smallest)
        return tensor
    if shape is None:
        shape = (default_size, default_size, in_channels or 3)
    return keras.Input(_checked_shape(shape, in_channels, smallest))


def graph_inputs(image: Any) -> Any:
    """Returns the input or inputs that a tensor is computed from."""
    sources = keras.utils.get_source_inputs(image)
    return sources[0] if len(sources) == 1 else sources


def _checked_shape(
    received: Any, in_channels: int | None, smallest: int
) -> tuple[int | None, ...]:
    try:
        # NumPy's integers could not be saved with the model.
        shape = tuple(None if n is None else operator.index(n) for n in received)
    except TypeError:
        shape = ()
    if len(shape) != 3 or not shape[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), such as (224, 224, 3), "
            f"with channels known. Received: input_shape={reprlib.repr(received)}"
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
    return shape
