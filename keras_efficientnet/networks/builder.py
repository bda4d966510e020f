"""Model builder: from a variant to a functional Keras model with random weights."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import keras

from ..architecture import Block, Variant, block_plan, reduction_blocks
from ..common.choices import check_choice
from ..common.recursion_limit import raised_recursion_limit
from . import blocks

BN_EPSILON = 1e-3


@raised_recursion_limit()
def build(
    variant: Variant,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "efficientnet",
    dropout: float | None = None,
    drop_connect: float = 0.2,
    in_channels: int | None = None,
    normalization: str | None = None,
    padding: str = "same",
    bn_momentum: float | None = None,
    bn_epsilon: float = BN_EPSILON,
    features: Sequence[int] | None = None,
) -> keras.Model:
    """Builds the network that `variant` describes, with random weights.

    Args:
        variant: Row of `VARIANTS`, or any other scaling of a family.
        include_top: Whether the network ends in a classifier.
        input_tensor: Keras tensor to build on, (batch, height, width, channels).
        input_shape: (height, width, channels); height and width may be None.
            Defaults to the variant's resolution with a top, any size without.
        pooling: Pooling of a network without top, "avg", "max" or None.
        classes: Number of classes of the classifier.
        classifier_activation: Activation of the classifier; None gives logits.
        name: Name of the model.
        dropout: Dropout rate before the classifier; None takes the variant's.
        drop_connect: Final rate of stochastic depth; rates rise linearly to it.
        in_channels: Number of input channels; None takes that of `input_shape` or
            `input_tensor`, else 3.
        normalization: Input normalisation, "imagenet", "inception", "inception128",
            "lite" or "none"; None takes what the variant's published weights expect.
        padding: Padding of convolutions, "same" (TensorFlow's) or "symmetric"
            (PyTorch's).
        bn_momentum: Momentum of the moving statistics; None takes the family's.
        bn_epsilon: Constant added to the variance in batch normalisation.
        features: Reduction levels to return, usually from 1 to 5. The output is then
            a dict with keys "reduction_1" ..., there is no top, and `include_top`,
            `pooling` and `classes` are ignored.

    Returns:
        A functional model. Its input is RGB, 0 to 255, of any float dtype or
        uint8. Its output is (batch, classes) float32; without top, (batch, height
        / 32, width / 32, channels), or (batch, channels) float32 when pooled.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1905.11946, section 4; tensorflow/tpu, efficientnet_model.py; V2,
        arXiv:2104.00298 and google/automl, efficientnetv2/effnetv2_model.py.
    """
    check_choice("padding", padding, ("same", "symmetric"))
    check_choice("pooling", pooling, (None, "avg", "max"))
    normalization = normalization or variant.normalization
    dropout = variant.dropout if dropout is None else dropout
    conventions = variant.conventions
    blocks.check_classifier(classes, dropout)
    if keras.backend.image_data_format() != "channels_last":
        raise ValueError(
            "`keras.backend.image_data_format()` must be 'channels_last'. "
            f"Received: {keras.backend.image_data_format()!r}"
        )
    plan = block_plan(variant, drop_connect)
    ends_by_level = _feature_ends(plan, features)
    has_top = include_top and not ends_by_level
    default_size = variant.resolution if has_top else None
    image = image_input(
        input_tensor, input_shape, in_channels, default_size, variant.smallest_image
    )
    style = blocks.Style(
        activation=conventions.activation,
        padding=padding,
        bn_momentum=conventions.bn_momentum if bn_momentum is None else bn_momentum,
        bn_epsilon=bn_epsilon,
    )
    x = blocks.normalize(image, normalization)
    x = blocks.stem(x, variant.stem_filters, style)
    ends = {}
    for block in plan:
        x = blocks.residual_block(x, block, style)
        ends[block.name] = x
    if ends_by_level:
        x = {f"reduction_{i}": ends[name] for i, name in ends_by_level.items()}
    else:
        x = blocks.head(x, variant.head_filters, style)
        if has_top:
            x = blocks.pool(x, "avg")
            x = blocks.classifier(x, classes, dropout, classifier_activation)
        elif pooling:
            x = blocks.pool(x, pooling)
    return keras.Model(graph_inputs(image), x, name=name)


def image_input(
    tensor: Any,
    shape: Sequence[int | None] | None,
    in_channels: int | None,
    default_size: int | None,
    smallest: int,
) -> Any:
    """Creates or checks the input tensor of a network.

    Args:
        tensor: User's Keras tensor, (batch, height, width, channels); None creates
            one.
        shape: Shape of the input, (height, width, channels); None takes
            `default_size`.
        in_channels: Number of channels; None takes that of `shape` or `tensor`, else 3.
        default_size: Image side, pixels; None allows any.
        smallest: Smallest allowed image side, pixels.

    Raises:
        TypeError: `tensor` is not a Keras tensor.
        ValueError: A shape is not valid.
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
    """Returns the model input, or inputs, that a tensor is computed from."""
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


def _feature_ends(
    plan: tuple[Block, ...], features: Sequence[int] | None
) -> dict[int, str]:
    """Maps the requested levels to the blocks that output them."""
    if features is None:
        return {}
    by_level, levels = reduction_blocks(plan), tuple(features)
    if not levels or not set(levels) <= set(by_level):
        raise ValueError(
            "`features` must name at least one reduction level, out of "
            f"{min(by_level)} to {max(by_level)}. Received: features={features}"
        )
    return {level: by_level[level] for level in levels}
