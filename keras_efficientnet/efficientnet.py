"""EfficientNet models: any scaling of a family, and one factory per variant.

Drop-in replacement for `keras.applications.efficientnet`, with all of its names.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras

from .architecture import checked_family, scaled_variant
from .common.choices import check_count
from .networks.builder import BN_EPSILON, build
from .networks.factories import factory, factory_with_preprocessing
from .preprocessing import decode_predictions as decode_predictions
from .preprocessing import preprocess_input as preprocess_input
from .scaling import compound
from .stages import Stage
from .weights import load_weights


def EfficientNet(
    width: float,
    depth: float,
    resolution: int,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "efficientnet",
    *,
    lite: bool = False,
    dropout: float = 0.2,
    drop_connect: float = 0.2,
    in_channels: int | None = None,
    normalization: str | None = None,
    padding: str = "same",
    bn_momentum: float | None = None,
    bn_epsilon: float = BN_EPSILON,
    features: Sequence[int] | None = None,
    skip_head: bool = False,
    stages: Sequence[Stage] | None = None,
    stem_filters: int | None = None,
    head_filters: int | None = None,
    family: str = "v1",
) -> keras.Model:
    """Builds an EfficientNet of any width, depth and resolution.

    Args:
        width: Ratio of channel counts to those of `stages`.
        depth: Ratio of block counts to those of `stages`.
        resolution: Image side, pixels; at least 32 with the families' stages, which
            halve it five times. `Scaling(...).image_size()` turns a ratio into one.
        include_top: As in `build`.
        weights: Path of a weight file of exactly this architecture, repository of one
            ("hf://OWNER/NAME"), or None for random weights.
        input_tensor: As in `build`.
        input_shape: As in `build`.
        pooling: As in `build`.
        classes: As in `build`.
        classifier_activation: As in `build`.
        name: As in `build`.
        lite: Whether to build a Lite net: ReLU6, no squeeze-excite, stem and head
            not scaled. The same as `family="lite"`.
        dropout: As in `build`.
        drop_connect: As in `build`.
        in_channels: As in `build`.
        normalization: As in `build`.
        padding: As in `build`.
        bn_momentum: As in `build`.
        bn_epsilon: As in `build`.
        features: As in `build`.
        skip_head: Whether the classifier keeps random weights.
        stages: Stage table to scale; None takes the family's, such as B0's. Weight
            files fit only the table that they were trained with.
        stem_filters: Number of channels of the stem before width scaling; None takes
            the family's.
        head_filters: Number of channels of the last 1x1 convolution before width
            scaling; None takes the family's.
        family: Conventions of "v1", "lite", "v2" or "edgetpu": activation, rounding
            of channels, momentum of batch normalisation, default stages. "v2" scales
            V2-B0, "edgetpu" EdgeTPU-S.

    Returns:
        A model; see `build`.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1905.11946, section 3.3; Lite, tensorflow/tpu, efficientnet/lite; V2,
        arXiv:2104.00298.
    """
    family = checked_family(family, lite)
    base = scaled_variant(family, width, depth, resolution, dropout)
    variant = dataclasses.replace(
        base,
        stages=base.stages if stages is None else tuple(stages),
        base_stem=base.base_stem if stem_filters is None else stem_filters,
        base_head=base.base_head if head_filters is None else head_filters,
    )
    least = variant.smallest_image
    check_count("resolution", resolution, least, " pixels")
    model = build(
        variant,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        name=name,
        drop_connect=drop_connect,
        in_channels=in_channels,
        normalization=normalization,
        padding=padding,
        bn_momentum=bn_momentum,
        bn_epsilon=bn_epsilon,
        features=features,
    )
    if weights is not None:
        load_weights(model, weights, skip_head=skip_head)
    return model


def from_phi(
    phi: float,
    *,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
    **options: Any,
) -> keras.Model:
    """Builds the network that compound scaling gives for `phi`.

    Args:
        phi: Compound coefficient; 0 is the family's baseline. May be fractional.
        alpha: Depth ratio per unit of `phi`.
        beta: Width ratio per unit of `phi`.
        gamma: Resolution ratio per unit of `phi`.
        **options: Further arguments of `EfficientNet`. `dropout` defaults to the
            paper's, which rises linearly from 0.2 at phi = 0 to 0.5 at phi = 7.

    Returns:
        A model; see `build`.

    Raises:
        ValueError: `phi` makes the image smaller than 32 pixels, or an argument is
            out of its range.

    Source:
        arXiv:1905.11946, equation 3 and section 5.2 (dropout).
    """
    scaling = compound(phi, alpha, beta, gamma)
    options.setdefault("dropout", 0.2 + 0.3 * min(max(phi / 7, 0.0), 1.0))
    return EfficientNet(scaling.width, scaling.depth, scaling.image_size(), **options)


EfficientNetB0 = factory("EfficientNetB0")
EfficientNetB1 = factory("EfficientNetB1")
EfficientNetB2 = factory("EfficientNetB2")
EfficientNetB3 = factory("EfficientNetB3")
EfficientNetB4 = factory("EfficientNetB4")
EfficientNetB5 = factory("EfficientNetB5")
EfficientNetB6 = factory("EfficientNetB6")
EfficientNetB7 = factory("EfficientNetB7")
EfficientNetB8 = factory("EfficientNetB8")
EfficientNetL2 = factory("EfficientNetL2")
EfficientNetLite0 = factory("EfficientNetLite0")
EfficientNetLite1 = factory("EfficientNetLite1")
EfficientNetLite2 = factory("EfficientNetLite2")
EfficientNetLite3 = factory("EfficientNetLite3")
EfficientNetLite4 = factory("EfficientNetLite4")
EfficientNetV2B0 = factory_with_preprocessing("EfficientNetV2B0")
EfficientNetV2B1 = factory_with_preprocessing("EfficientNetV2B1")
EfficientNetV2B2 = factory_with_preprocessing("EfficientNetV2B2")
EfficientNetV2B3 = factory_with_preprocessing("EfficientNetV2B3")
EfficientNetV2S = factory_with_preprocessing("EfficientNetV2S")
EfficientNetV2M = factory_with_preprocessing("EfficientNetV2M")
EfficientNetV2L = factory_with_preprocessing("EfficientNetV2L")
EfficientNetV2XL = factory_with_preprocessing("EfficientNetV2XL")
EfficientNetEdgeTPUS = factory_with_preprocessing("EfficientNetEdgeTPUS")
EfficientNetEdgeTPUM = factory_with_preprocessing("EfficientNetEdgeTPUM")
EfficientNetEdgeTPUL = factory_with_preprocessing("EfficientNetEdgeTPUL")
