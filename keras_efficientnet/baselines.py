"""Baseline networks of the paper's scaling study: MobileNets and ResNets.

Layers are named as in keras.applications, so its weights can be copied by name. There
is no `weights` argument: these networks exist to be scaled, measured and trained.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from .architecture import Stage
from .common.choices import check_choice
from .common.recursion_limit import raised_recursion_limit
from .networks import blocks
from .scaling import Scaling, round_filters, round_repeats

# Source: arXiv:1704.04861, Table 1; each row is a depthwise and a 1x1 convolution.
MOBILENET_V1_STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, filters=64),
    Stage(repeats=2, kernel=3, stride=2, expand=1, filters=128),
    Stage(repeats=2, kernel=3, stride=2, expand=1, filters=256),
    Stage(repeats=6, kernel=3, stride=2, expand=1, filters=512),
    Stage(repeats=2, kernel=3, stride=2, expand=1, filters=1024),
)
# Source: arXiv:1801.04381, Table 2.
MOBILENET_V2_STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, filters=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, filters=24),
    Stage(repeats=3, kernel=3, stride=2, expand=6, filters=32),
    Stage(repeats=4, kernel=3, stride=2, expand=6, filters=64),
    Stage(repeats=3, kernel=3, stride=1, expand=6, filters=96),
    Stage(repeats=3, kernel=3, stride=2, expand=6, filters=160),
    Stage(repeats=1, kernel=3, stride=1, expand=6, filters=320),
)
MOBILENET_V2_HEAD_FILTERS = 1280
MOBILENET_STEM_FILTERS = 32
# Source: arXiv:1512.03385, Table 1. `filters` counts the outputs of the 3x3
# convolution; the block has `expand` times as many.
RESNET_STAGES = {
    50: (
        Stage(repeats=3, kernel=3, stride=1, expand=4, filters=64),
        Stage(repeats=4, kernel=3, stride=2, expand=4, filters=128),
        Stage(repeats=6, kernel=3, stride=2, expand=4, filters=256),
        Stage(repeats=3, kernel=3, stride=2, expand=4, filters=512),
    ),
    152: (
        Stage(repeats=3, kernel=3, stride=1, expand=4, filters=64),
        Stage(repeats=8, kernel=3, stride=2, expand=4, filters=128),
        Stage(repeats=36, kernel=3, stride=2, expand=4, filters=256),
        Stage(repeats=3, kernel=3, stride=2, expand=4, filters=512),
    ),
}
RESNET_STEM_FILTERS = 64
RESNET_VERSIONS = ("v1", "v1.5")
_BASE = Scaling()


def MobileNetV1(
    scaling: Scaling = _BASE,
    *,
    resolution: int = 224,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    normalization: str = "inception",
    dropout: float = 1e-3,
    name: str = "mobilenet_v1",
) -> keras.Model:
    """Builds a scaled MobileNetV1 with random weights.

    Args:
        scaling: Scaling relative to the published network. Blocks per stage are
            rounded up, channels to multiples of 8.
        resolution: Image side of the unscaled network, pixels.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; None returns logits.
        normalization: Normalisation of the input: "imagenet", "inception", "lite" or
            "none".
        dropout: Dropout rate before the classifier.
        name: Name of the model.

    Returns:
        A functional model from RGB images, (batch, side, side, 3), 0 to 255, to scores,
        (batch, classes), float32.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1704.04861; scaling, arXiv:1905.11946, section 5.1.
    """
    act = "relu6"
    image = _image(scaling, resolution, classes, dropout)
    x = blocks.normalize(image, normalization)
    stem = round_filters(MOBILENET_STEM_FILTERS, scaling.width)
    x = _conv(x, stem, 3, "conv1", "conv1_bn", stride=2, activation=act)
    for i, (stage, stride, _) in enumerate(_plan(MOBILENET_V1_STAGES, scaling), 1):
        filters = round_filters(stage.filters, scaling.width)
        x = _depthwise(x, stage.kernel, f"conv_dw_{i}", f"conv_dw_{i}_bn", stride, act)
        x = _conv(x, filters, 1, f"conv_pw_{i}", f"conv_pw_{i}_bn", activation=act)
    return _finish(image, x, classes, dropout, classifier_activation, name)


def MobileNetV2(
    scaling: Scaling = _BASE,
    *,
    resolution: int = 224,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    normalization: str = "inception",
    dropout: float = 0.0,
    name: str = "mobilenet_v2",
) -> keras.Model:
    """Builds a scaled MobileNetV2 with random weights.

    Args:
        scaling: As in `MobileNetV1`. The last 1x1 convolution grows with the width,
            but never shrinks.
        resolution: As in `MobileNetV1`.
        classes: As in `MobileNetV1`.
        classifier_activation: As in `MobileNetV1`.
        normalization: As in `MobileNetV1`.
        dropout: As in `MobileNetV1`.
        name: As in `MobileNetV1`.

    Returns:
        A model; see `MobileNetV1`.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1801.04381; scaling, arXiv:1905.11946, section 5.1.
    """
    image = _image(scaling, resolution, classes, dropout)
    x = blocks.normalize(image, normalization)
    stem = round_filters(MOBILENET_STEM_FILTERS, scaling.width)
    x = _conv(x, stem, 3, "Conv1", "bn_Conv1", stride=2, activation="relu6")
    for i, (stage, stride, _) in enumerate(_plan(MOBILENET_V2_STAGES, scaling)):
        filters = round_filters(stage.filters, scaling.width)
        prefix = f"block_{i}" if i else "expanded_conv"
        x = _inverted_bottleneck(x, stage, stride, filters, prefix)
    head = round_filters(MOBILENET_V2_HEAD_FILTERS, max(1.0, scaling.width))
    x = _conv(x, head, 1, "Conv_1", "Conv_1_bn", activation="relu6")
    return _finish(image, x, classes, dropout, classifier_activation, name)


def ResNet(
    depth: int = 50,
    scaling: Scaling = _BASE,
    *,
    version: str = "v1.5",
    resolution: int = 224,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    normalization: str = "imagenet",
    dropout: float = 0.0,
    name: str = "",
) -> keras.Model:
    """Builds a scaled bottleneck ResNet with random weights.

    Args:
        depth: Layers of the unscaled network, a key of `RESNET_STAGES`.
        scaling: As in `MobileNetV1`.
        version: "v1.5" has the stride of a stage in its first 3x3 convolution and no
            biases before batch normalisation, like torchvision; "v1" has the stride in
            the first 1x1 convolution and uses biases, like keras.applications.
        resolution: As in `MobileNetV1`.
        classes: As in `MobileNetV1`.
        classifier_activation: As in `MobileNetV1`.
        normalization: As in `MobileNetV1`.
        dropout: As in `MobileNetV1`.
        name: Name of the model. Defaults to "resnet50" or similar.

    Returns:
        A model; see `MobileNetV1`.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1512.03385; scaling, arXiv:1905.11946, section 5.1.
    """
    check_choice("depth", depth, RESNET_STAGES)
    check_choice("version", version, RESNET_VERSIONS)
    is_v1 = version == "v1"
    image = _image(scaling, resolution, classes, dropout)
    x = blocks.normalize(image, normalization)
    stem = round_filters(RESNET_STEM_FILTERS, scaling.width)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _resnet_conv(x, stem, 7, "conv1", 2, is_v1, "relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, stride, place in _plan(RESNET_STAGES[depth], scaling):
        filters = round_filters(stage.filters, scaling.width)
        prefix = f"conv{place[0] + 2}_block{place[1] + 1}"
        x = _bottleneck(x, stage, stride, filters, prefix, is_v1)
    name = name or f"resnet{depth}"
    return _finish(image, x, classes, dropout, classifier_activation, name)


def _plan(
    stages: tuple[Stage, ...], scaling: Scaling
) -> list[tuple[Stage, int, tuple[int, int]]]:
    """Lists (stage, stride, (index of stage, index in stage)) of every block."""
    return [
        (stage, stage.stride if j == 0 else 1, (i, j))
        for i, stage in enumerate(stages)
        for j in range(round_repeats(stage.repeats, scaling.depth))
    ]


def _inverted_bottleneck(
    x: Any, stage: Stage, stride: int, filters: int, prefix: str
) -> Any:
    entry, channels = x, x.shape[-1]
    if stage.expand != 1:
        names = f"{prefix}_expand", f"{prefix}_expand_BN"
        x = _conv(x, stage.expand * channels, 1, *names, activation="relu6")
    names = f"{prefix}_depthwise", f"{prefix}_depthwise_BN"
    x = _depthwise(x, stage.kernel, *names, stride, "relu6")
    x = _conv(x, filters, 1, f"{prefix}_project", f"{prefix}_project_BN")
    if stride == 1 and channels == filters:
        x = layers.Add(name=f"{prefix}_add")([entry, x])
    return x


def _bottleneck(
    x: Any, stage: Stage, stride: int, filters: int, prefix: str, is_v1: bool
) -> Any:
    entry, outputs = x, stage.expand * filters
    strides = (stride, 1) if is_v1 else (1, stride)
    x = _resnet_conv(x, filters, 1, f"{prefix}_1", strides[0], is_v1, "relu")
    if strides[1] > 1:
        x = layers.ZeroPadding2D(stage.kernel // 2, name=f"{prefix}_2_pad")(x)
    x = _resnet_conv(x, filters, stage.kernel, f"{prefix}_2", strides[1], is_v1, "relu")
    x = _resnet_conv(x, outputs, 1, f"{prefix}_3", 1, is_v1)
    if stride != 1 or entry.shape[-1] != outputs:
        entry = _resnet_conv(entry, outputs, 1, f"{prefix}_0", stride, is_v1)
    x = layers.Add(name=f"{prefix}_add")([entry, x])
    return layers.Activation("relu", name=f"{prefix}_out")(x)


def _resnet_conv(
    x: Any,
    filters: int,
    kernel: int,
    prefix: str,
    stride: int,
    bias: bool,
    activation: str | None = None,
) -> Any:
    return _conv(
        x,
        filters,
        kernel,
        f"{prefix}_conv",
        f"{prefix}_bn",
        stride=stride,
        # The caller pads both sides equally, which TensorFlow's SAME padding does not.
        padding="valid" if stride > 1 else "same",
        bias=bias,
        activation=activation,
        epsilon=1.001e-5 if bias else 1e-5,  # as in keras.applications or torchvision
    )


def _conv(
    x: Any,
    filters: int,
    kernel: int,
    name: str,
    bn_name: str,
    *,
    stride: int = 1,
    padding: str = "same",
    bias: bool = False,
    activation: str | None = None,
    epsilon: float = 1e-3,
) -> Any:
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return _bn(x, bn_name, activation, epsilon)


def _depthwise(
    x: Any, kernel: int, name: str, bn_name: str, stride: int, activation: str
) -> Any:
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=name,
    )(x)
    return _bn(x, bn_name, activation, 1e-3)


def _bn(x: Any, name: str, activation: str | None, epsilon: float) -> Any:
    x = layers.BatchNormalization(epsilon=epsilon, name=name)(x)
    if activation:
        x = layers.Activation(activation, name=f"{name}_{activation}")(x)
    return x


def _image(scaling: Scaling, resolution: int, classes: int, dropout: float) -> Any:
    blocks.check_classifier(classes, dropout)
    side = scaling.image_size(resolution)
    return keras.Input((side, side, 3), name="image")


@raised_recursion_limit()
def _finish(
    image: Any, x: Any, classes: int, dropout: float, activation: Any, name: str
) -> keras.Model:
    x = blocks.classifier(blocks.pool(x, "avg"), classes, dropout, activation)
    return keras.Model(image, x, name=name)
