"""Building blocks: stem, MBConv, Fused-MBConv, squeeze-excite, head, classifier.

Layer names are those of keras.applications, because weight files depend on them.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from .._compat import to_tensor
from ..architecture import NORMALIZATION_LAYER, Block
from ..common.choices import check_choice, check_count
from ..preprocessing import NORMALIZATIONS, channel_statistics

# Source: tensorflow/tpu, efficientnet_model.py: normal, not truncated.
_CONV_INIT: dict[str, Any] = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "untruncated_normal"},
}
# Uniform in +-1 / sqrt(classes).
_DENSE_INIT: dict[str, Any] = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1 / 3, "mode": "fan_out", "distribution": "uniform"},
}


@dataclasses.dataclass(frozen=True)
class Style:
    """Settings that all blocks of one network share."""

    activation: str = "swish"  # or "relu6", "relu"
    padding: str = "same"  # TensorFlow's; "symmetric": PyTorch's
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3


def normalize(x: Any, kind: str) -> Any:
    """Normalises pixels by the mean and standard deviation of each channel.

    Args:
        x: Images, (batch, height, width, channels), 0 to 255.
        kind: Key of `NORMALIZATIONS`.

    Returns:
        Images of the same shape, float32; for "none" `x` itself if it is float.

    Raises:
        ValueError: The kind is unknown; the message names the nearest.
    """
    check_choice("normalization", kind, NORMALIZATIONS)
    is_integer = "int" in str(x.dtype)
    if kind == "none" and not is_integer:
        return x
    mean, std = channel_statistics(kind, x.shape[-1])
    return layers.Rescaling(
        [1 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",  # bfloat16 would round the pixels before the subtraction
        name=NORMALIZATION_LAYER,
    )(x)


def stem(x: Any, filters: int, style: Style) -> Any:
    """Applies the stem, a 3x3 convolution that halves the image's sides.

    Args:
        x: Normalised images, (batch, height, width, channels), float.
        filters: Number of output channels.
        style: Settings that the blocks share.

    Returns:
        Features, (batch, ceil(height / 2), ceil(width / 2), filters).
    """
    x, padding = _pad(x, kernel=3, stride=2, style=style, name="stem_conv")
    x = _conv(x, filters, "stem_conv", kernel=3, stride=2, padding=padding)
    return _bn_act(x, "stem_bn", "stem_activation", style)


def residual_block(x: Any, block: Block, style: Style) -> Any:
    """Applies one block, with its skip connection and stochastic depth, if any.

    Args:
        x: Features, (batch, height, width, block.filters_in).
        block: Configuration of the block.
        style: Settings that the blocks share.

    Returns:
        Features, (batch, ceil(height / stride), ceil(width / stride),
        block.filters_out).

    Source:
        arXiv:1905.11946, section 4; stochastic depth, arXiv:1603.09382.
    """
    inputs = x
    x = (fused_mbconv if block.kind == "fused" else mbconv)(x, block, style)
    if not block.has_skip:
        return x
    if block.drop_rate > 0:
        x = layers.Dropout(
            block.drop_rate,
            noise_shape=(None, 1, 1, 1),  # one decision per image
            name=f"{block.name}_drop",
        )(x)
    return layers.Add(name=f"{block.name}_add")([x, inputs])


def mbconv(x: Any, block: Block, style: Style) -> Any:
    """Applies one mobile inverted bottleneck (MBConv), without the skip.

    Args:
        x: Features, (batch, height, width, block.filters_in).
        block: Configuration of the block.
        style: Settings that the blocks share.

    Returns:
        Features, as `residual_block` returns them.

    Source:
        arXiv:1801.04381, figure 3b; arXiv:1905.11946, section 4.
    """
    name, depthwise_name = block.name, f"{block.name}_{block.depthwise_name}"
    if block.expand != 1:
        x = _conv(x, block.expanded, f"{name}_expand_conv")
        x = _bn_act(x, f"{name}_expand_bn", f"{name}_expand_activation", style)
    x, padding = _pad(x, block.kernel, block.stride, style, depthwise_name)
    depthwise = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding=padding,
        use_bias=False,
        depthwise_initializer=_CONV_INIT,
        name=depthwise_name,
    )
    x = _call_new(depthwise, x, "depthwise_initializer")
    x = _bn_act(x, f"{name}_bn", f"{name}_activation", style)
    if block.se_filters:
        x = squeeze_excite(x, block, style)
    x = _conv(x, block.filters_out, f"{name}_project_conv")
    return _bn(x, f"{name}_project_bn", style)


def fused_mbconv(x: Any, block: Block, style: Style) -> Any:
    """Applies one Fused-MBConv, without the skip.

    One square convolution takes the place of MBConv's 1x1 expansion and depthwise
    convolution. A block that does not expand is that convolution alone, followed by
    an activation.

    Args:
        x: Features, (batch, height, width, block.filters_in).
        block: Configuration of the block.
        style: Settings that the blocks share.

    Returns:
        Features, as `residual_block` returns them.

    Source:
        arXiv:2104.00298, figure 2; google/automl, efficientnetv2/effnetv2_model.py.
    """
    name, expands = block.name, block.expand != 1
    if expands:
        x = _square_conv(x, block.expanded, block, style, f"{name}_expand_conv")
        x = _bn_act(x, f"{name}_expand_bn", f"{name}_expand_activation", style)
    if block.se_filters:
        x = squeeze_excite(x, block, style)
    if expands:
        x = _conv(x, block.filters_out, f"{name}_project_conv")
        return _bn(x, f"{name}_project_bn", style)
    x = _square_conv(x, block.filters_out, block, style, f"{name}_project_conv")
    return _bn_act(x, f"{name}_project_bn", f"{name}_project_activation", style)


def squeeze_excite(x: Any, block: Block, style: Style) -> Any:
    """Applies squeeze-and-excitation: scales channels by weights from their means.

    Args:
        x: Features, (batch, height, width, block.expanded).
        block: Configuration of the block.
        style: Settings that the blocks share.

    Returns:
        Features of the same shape.

    Source:
        arXiv:1709.01507.
    """
    name = block.name
    s = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
    s = _conv(s, block.se_filters, f"{name}_se_reduce", activation=style.activation)
    s = _conv(s, block.expanded, f"{name}_se_expand", activation="sigmoid")
    return layers.Multiply(name=f"{name}_se_excite")([x, s])


def head(x: Any, filters: int, style: Style) -> Any:
    """Applies the last 1x1 convolution.

    Args:
        x: Features of the last block, (batch, height, width, channels).
        filters: Number of output channels.
        style: Settings that the blocks share.

    Returns:
        Features, (batch, height, width, filters).
    """
    x = _conv(x, filters, "top_conv")
    return _bn_act(x, "top_bn", "top_activation", style)


def pool(x: Any, pooling: str) -> Any:
    """Pools features over all positions, in float32 under any dtype policy.

    Args:
        x: Features, (batch, height, width, channels).
        pooling: "avg" or "max".

    Returns:
        Pooled features, (batch, channels), float32.
    """
    kinds = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}
    return kinds[pooling](dtype="float32", name=f"{pooling}_pool")(x)


def classifier(
    x: Any,
    classes: int,
    dropout: float,
    activation: Any,
    kernel_initializer: Any = _DENSE_INIT,
) -> Any:
    """Turns pooled features into one score per class.

    Args:
        x: Pooled features, (batch, channels), float32.
        classes: Number of classes.
        dropout: Dropout rate before the dense layer; 0 leaves the layer out.
        activation: Activation of the dense layer; None gives logits.
        kernel_initializer: Initializer of the dense layer's kernel.

    Returns:
        Scores, (batch, classes), float32.
    """
    if dropout > 0:
        x = layers.Dropout(dropout, dtype="float32", name="top_dropout")(x)
    return layers.Dense(
        int(classes),  # NumPy's integers could not be saved with the model
        activation=activation,
        kernel_initializer=kernel_initializer,
        dtype="float32",
        name="predictions",
    )(x)


def check_classifier(classes: int, dropout: float) -> None:
    """Checks the arguments of `classifier` before anything is built.

    Args:
        classes: Number of classes.
        dropout: Dropout rate before the dense layer.

    Raises:
        ValueError: `classes` is not an integer of at least 1, or `dropout` is not in
            [0, 1).
    """
    if not 0 <= dropout < 1:
        raise ValueError(
            f"`dropout` must be at least 0 and under 1. Received: dropout={dropout}"
        )
    check_count("classes", classes)


def _conv(
    x: Any,
    filters: int,
    name: str,
    kernel: int = 1,
    stride: int = 1,
    padding: str = "same",
    activation: str | None = None,
) -> Any:
    # Uses a bias only if no batch normalisation follows.
    layer = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        activation=activation,
        use_bias=activation is not None,
        kernel_initializer=_CONV_INIT,
        name=name,
    )
    return _call_new(layer, x, "kernel_initializer")


def _square_conv(x: Any, filters: int, block: Block, style: Style, name: str) -> Any:
    x, padding = _pad(x, block.kernel, block.stride, style, name)
    return _conv(x, filters, name, block.kernel, block.stride, padding)


class _QuickNormal(keras.initializers.Initializer):
    """`_CONV_INIT` drawn with NumPy, in a third of the time."""

    def __call__(self, shape: Sequence[int], dtype: Any = None, **_: Any) -> Any:
        fan_out = math.prod(shape[:-2]) * shape[-1]
        # `keras.utils.set_random_seed` seeds Python's generator on every backend.
        generator = np.random.Generator(np.random.SFC64(random.getrandbits(64)))
        values = generator.standard_normal(shape, np.float32)
        values *= math.sqrt(_CONV_INIT["config"]["scale"] / fan_out)
        return to_tensor(values, dtype)


def _call_new(layer: Any, x: Any, attribute: str) -> Any:
    # Drawing random numbers takes half of the time to build a large network. Saved
    # files must name Keras' own initializer, so the fast one is used in the call only.
    standard = getattr(layer, attribute)
    setattr(layer, attribute, _QuickNormal())
    x = layer(x)
    setattr(layer, attribute, standard)
    return x


def _pad(x: Any, kernel: int, stride: int, style: Style, name: str) -> tuple[Any, str]:
    # With odd kernels, the two conventions differ only if the stride is not 1.
    if style.padding == "same" or stride == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"


def _bn(x: Any, name: str, style: Style) -> Any:
    return layers.BatchNormalization(
        momentum=style.bn_momentum, epsilon=style.bn_epsilon, name=name
    )(x)


def _bn_act(x: Any, bn_name: str, activation_name: str, style: Style) -> Any:
    x = _bn(x, bn_name, style)
    return layers.Activation(style.activation, name=activation_name)(x)
