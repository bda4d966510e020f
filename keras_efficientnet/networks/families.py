"""Families of networks: stage tables and the conventions that all sizes share."""

from __future__ import annotations

import dataclasses

from ..stages import HEAD_FILTERS, STAGES, STEM_FILTERS, Stage


@dataclasses.dataclass(frozen=True)
class Family:
    """Baseline stage table of a family and the conventions of all its sizes.

    Attributes:
        stages: Baseline stage table.
        stem_filters: Channels of the stem before width scaling.
        head_filters: Channels of the last 1x1 convolution before width scaling.
        activation: Keras name of the activation function.
        normalization: Input normalisation of the published weights.
        rounding_limit: Smallest allowed ratio of a rounded channel count to the exact
            one.
        bn_momentum: Default momentum of batch normalisation.
        depthwise_name: Name of the depthwise convolution within a block.
    """

    stages: tuple[Stage, ...] = STAGES
    stem_filters: int = STEM_FILTERS
    head_filters: int = HEAD_FILTERS
    activation: str = "swish"
    normalization: str = "imagenet"
    rounding_limit: float = 0.9
    bn_momentum: float = 0.99
    depthwise_name: str = "dwconv"


def _fused(repeats: int, stride: int, expand: int, filters: int) -> Stage:
    return Stage(repeats, 3, stride, expand, filters, se_ratio=0.0, kind="fused")


def _mbconv(repeats: int, stride: int, expand: int, filters: int) -> Stage:
    return Stage(repeats, 3, stride, expand, filters)


# Repeats, stride of the first block, expansion, output channels.
# Source: google/automl, efficientnetv2/effnetv2_configs.py.
V2_STAGES = (
    _fused(1, 1, 1, 16),
    _fused(2, 2, 4, 32),
    _fused(2, 2, 4, 48),
    _mbconv(3, 2, 4, 96),
    _mbconv(5, 1, 6, 112),
    _mbconv(8, 2, 6, 192),
)
V2S_STAGES = (
    _fused(2, 1, 1, 24),
    _fused(4, 2, 4, 48),
    _fused(4, 2, 4, 64),
    _mbconv(6, 2, 4, 128),
    _mbconv(9, 1, 6, 160),
    _mbconv(15, 2, 6, 256),
)
V2M_STAGES = (
    _fused(3, 1, 1, 24),
    _fused(5, 2, 4, 48),
    _fused(5, 2, 4, 80),
    _mbconv(7, 2, 4, 160),
    _mbconv(14, 1, 6, 176),
    _mbconv(18, 2, 6, 304),
    _mbconv(5, 1, 6, 512),
)
V2L_STAGES = (
    _fused(4, 1, 1, 32),
    _fused(7, 2, 4, 64),
    _fused(7, 2, 4, 96),
    _mbconv(10, 2, 4, 192),
    _mbconv(19, 1, 6, 224),
    _mbconv(25, 2, 6, 384),
    _mbconv(7, 1, 6, 640),
)
V2XL_STAGES = (
    _fused(4, 1, 1, 32),
    _fused(8, 2, 4, 64),
    _fused(8, 2, 4, 96),
    _mbconv(16, 2, 4, 192),
    _mbconv(24, 1, 6, 256),
    _mbconv(32, 2, 6, 512),
    _mbconv(8, 1, 6, 640),
)
# The stem has 32 channels, but the first block expands as if they were 24.
# Source: tensorflow/tpu, edgetpu/efficientnet_edgetpu_builder.py.
EDGETPU_STAGES = (
    Stage(1, 3, 1, 4, 24, se_ratio=0.0, skip=False, kind="fused", nominal_input=24),
    Stage(2, 3, 2, 8, 32, se_ratio=0.0, kind="fused"),
    Stage(4, 3, 2, 8, 48, se_ratio=0.0, kind="fused"),
    Stage(5, 5, 2, 8, 96, se_ratio=0.0),
    Stage(4, 5, 1, 8, 144, se_ratio=0.0),
    Stage(2, 5, 2, 8, 192, se_ratio=0.0),
)

FAMILIES = {
    "v1": Family(),
    "lite": Family(activation="relu6", normalization="lite"),
    # Rounding (without V1's 90% rule) and momentum as in google/automl, efficientnetv2.
    "v2": Family(
        stages=V2_STAGES,
        rounding_limit=0.0,
        bn_momentum=0.9,
        depthwise_name="dwconv2",
    ),
    "edgetpu": Family(stages=EDGETPU_STAGES, activation="relu", normalization="lite"),
}
