"""EfficientNet models: the builder and one factory per variant.

Takes the place of `keras.applications.efficientnet`, with all of its names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from . import blocks
from .architecture import VARIANTS, Block, Variant, block_plan, reduction_blocks
from .common.choices import check_choice, check_count
from .common.recursion_limit import raised_recursion_limit
from .inputs import graph_inputs, image_input
from .preprocessing import decode_predictions as decode_predictions
from .preprocessing import preprocess_input as preprocess_input
from .scaling import compound
from .stages import HEAD_FILTERS, STAGES, STEM_FILTERS, Stage
from .weights import default_family, load_published, load_weights, published

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
    bn_momentum: float = 0.99,
    bn_epsilon: float = BN_EPSILON,
    features: Sequence[int] | None = None,
) -> keras.Model:
    """Builds the network that `variant` describes, with random weights.

    Args:
        variant: Width, depth, resolution, dropout and whether it is a Lite net.
        include_top: Whether the network ends in a classifier.
        input_tensor: Keras tensor to build on, (batch, height, width, channels).
        input_shape: (height, width, channels); height and width may be None.
            Without it: the variant's resolution with a top, any size without.
        pooling: "avg", "max" or None: pooling of a network without top.
        classes: Number of classes of the classifier.
        classifier_activation: Of the classifier; None gives logits.
        name: Name of the model.
        dropout: Rate before the classifier; None takes the variant's.
        drop_connect: Rate that stochastic depth rises to, towards the output.
        in_channels: Channels of the input; None takes them from `input_shape` or
            `input_tensor`, else 3.
        normalization: "imagenet", "inception", "lite" or "none"; None takes what
            the variant's published weights expect.
        padding: "same" (TensorFlow's) or "symmetric" (PyTorch's).
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Added to the variance.
        features: Reduction levels, out of 1 to 5 in the family. The outputs are then
            a dict with keys "reduction_1" ..., there is no top, and `include_top`,
            `pooling` and `classes` are not used.

    Returns:
        A functional model. Its input is RGB, 0 to 255, of any float dtype or
        uint8. Its output is (batch, classes) float32; without top, (batch, height
        / 32, width / 32, channels), or (batch, channels) float32 when pooled.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1905.11946, section 4; tensorflow/tpu, efficientnet_model.py.
    """
    check_choice("padding", padding, ("same", "symmetric"))
    check_choice("pooling", pooling, (None, "avg", "max"))
    normalization = normalization or variant.normalization
    dropout = variant.dropout if dropout is None else dropout
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
        activation="relu6" if variant.lite else "swish",
        padding=padding,
        bn_momentum=bn_momentum,
        bn_epsilon=bn_epsilon,
    )
    x = blocks.normalize(image, normalization)
    x = blocks.stem(x, variant.stem_filters, style)
    ends = {}
    for block in plan:
        x = blocks.mbconv(x, block, style)
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
    bn_momentum: float = 0.99,
    bn_epsilon: float = BN_EPSILON,
    features: Sequence[int] | None = None,
    skip_head: bool = False,
    stages: Sequence[Stage] = STAGES,
    stem_filters: int = STEM_FILTERS,
    head_filters: int = HEAD_FILTERS,
) -> keras.Model:
    """Builds an EfficientNet of any width, depth and resolution.

    Args:
        width: Channels, a ratio to those of `stages`.
        depth: Blocks, a ratio to those of `stages`.
        resolution: Image side that the network is meant for, pixels; at least 32
            with B0's stages, which halve it five times. `Scaling(...).image_size()`
            turns a ratio into one.
        include_top: As in `build`.
        weights: Path of a weight file of this very architecture, or None for
            random weights.
        input_tensor: As in `build`.
        input_shape: As in `build`.
        pooling: As in `build`.
        classes: As in `build`.
        classifier_activation: As in `build`.
        name: As in `build`.
        lite: Whether to build a Lite net: ReLU6, no squeeze-excite, stem and head
            not scaled.
        dropout: As in `build`.
        drop_connect: As in `build`.
        in_channels: As in `build`.
        normalization: As in `build`.
        padding: As in `build`.
        bn_momentum: As in `build`.
        bn_epsilon: As in `build`.
        features: As in `build`.
        skip_head: Whether the classifier keeps random weights.
        stages: The network that is scaled, B0's if not given. Weight files belong to
            one such table.
        stem_filters: Channels of the stem before width scaling.
        head_filters: Channels of the last 1x1 convolution before width scaling.

    Returns:
        A model as `build` describes it.

    Raises:
        ValueError: An argument is out of its range.

    Source:
        arXiv:1905.11946, section 3.3; Lite, tensorflow/tpu, efficientnet/lite.
    """
    scaled = (width, depth, resolution, dropout, lite)
    variant = Variant(*scaled, tuple(stages), stem_filters, head_filters)
    least = variant.smallest_image
    # `Scaling(...).image_size()` turns a ratio into one.
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
        phi: Compound coefficient; 0 is B0. May be fractional.
        alpha: Depth ratio of one step of `phi`.
        beta: Width ratio of one step of `phi`.
        gamma: Resolution ratio of one step of `phi`.
        **options: Of `EfficientNet`. `dropout` defaults to the paper's: rising
            linearly from 0.2 at phi = 0 to 0.5 at phi = 7.

    Returns:
        A model as `build` describes it.

    Raises:
        ValueError: `phi` makes the image smaller than 32 pixels, or an argument is
            out of its range.

    Source:
        arXiv:1905.11946, equation 3 and section 5.2 (dropout).
    """
    scaling = compound(phi, alpha, beta, gamma)
    options.setdefault("dropout", 0.2 + 0.3 * min(max(phi / 7, 0.0), 1.0))
    return EfficientNet(scaling.width, scaling.depth, scaling.image_size(), **options)


_FACTORY_DOC = """Builds {name}, meant for images of {size} x {size} pixels.

    Args:
        include_top: Whether the network ends in a classifier.
        weights: Family of published weights (`list_weights` lists them all), path of
            a weight file, or None for random weights. Defaults to "{family}". A
            family chooses `normalization`, `padding`, `bn_epsilon` and the image
            size unless you do.
        input_tensor: Keras tensor to build on, (batch, height, width, channels).
        input_shape: (height, width, channels); height and width may be None.
        pooling: "avg", "max" or None: pooling of a network without top.
        classes: Number of classes of the classifier.
        classifier_activation: Of the classifier; None gives logits.
        name: Name of the model.
        dropout: Rate before the classifier. Defaults to {dropout}.
        drop_connect: Rate that stochastic depth rises to, towards the output.
        in_channels: Channels of the input.
        normalization: "imagenet", "inception", "lite" or "none". Defaults to
            "{normalization}".
        padding: "same" (TensorFlow's, the default) or "symmetric" (PyTorch's).
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Added to the variance. Defaults to 0.001.
        features: Reduction levels out of 1 to 5, for a dict of features.
        skip_head: Whether the classifier keeps random weights, as another number of
            classes needs it.

    Returns:
        A functional model. Its input is RGB, 0 to 255, of any float dtype or
        uint8. Its output is (batch, classes) float32; without top, (batch, height
        / 32, width / 32, channels), or (batch, channels) float32 when pooled.

    Raises:
        ValueError: An argument is out of its range, or the weights do not fit.

    Source:
        arXiv:1905.11946; coefficients, tensorflow/tpu, efficientnet_builder.py.
    """


def _factory(key: str) -> Callable[..., keras.Model]:
    variant, family = VARIANTS[key], default_family(key)

    def factory(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = family,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = key.lower(),
        *,
        dropout: float | None = None,
        drop_connect: float = 0.2,
        in_channels: int | None = None,
        normalization: str | None = None,
        padding: str | None = None,
        bn_momentum: float = 0.99,
        bn_epsilon: float | None = None,
        features: Sequence[int] | None = None,
        skip_head: bool = False,
    ) -> keras.Model:
        has_top = include_top and not features
        record = published(weights, key, has_top and not skip_head)
        epsilon = record.bn_epsilon if record else BN_EPSILON
        if record and input_shape is None and has_top:
            input_shape = (record.resolution, record.resolution, in_channels or 3)
        model = build(
            variant,
            include_top=include_top,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            dropout=dropout,
            drop_connect=drop_connect,
            in_channels=in_channels,
            normalization=normalization or (record.normalization if record else None),
            padding=padding or (record.padding if record else "same"),
            bn_momentum=bn_momentum,
            bn_epsilon=epsilon if bn_epsilon is None else bn_epsilon,
            features=features,
        )
        if record:
            load_published(model, record, skip_head=skip_head)
        elif weights is not None:
            load_weights(model, weights, skip_head=skip_head)
        return model

    factory.__name__ = factory.__qualname__ = key
    factory.__doc__ = _FACTORY_DOC.format(
        name=key,
        size=variant.resolution,
        dropout=variant.dropout,
        normalization=variant.normalization,
        family=family,
    )
    return factory


EfficientNetB0 = _factory("EfficientNetB0")
EfficientNetB1 = _factory("EfficientNetB1")
EfficientNetB2 = _factory("EfficientNetB2")
EfficientNetB3 = _factory("EfficientNetB3")
EfficientNetB4 = _factory("EfficientNetB4")
EfficientNetB5 = _factory("EfficientNetB5")
EfficientNetB6 = _factory("EfficientNetB6")
EfficientNetB7 = _factory("EfficientNetB7")
EfficientNetB8 = _factory("EfficientNetB8")
EfficientNetL2 = _factory("EfficientNetL2")
EfficientNetLite0 = _factory("EfficientNetLite0")
EfficientNetLite1 = _factory("EfficientNetLite1")
EfficientNetLite2 = _factory("EfficientNetLite2")
EfficientNetLite3 = _factory("EfficientNetLite3")
EfficientNetLite4 = _factory("EfficientNetLite4")


def _feature_ends(
    plan: tuple[Block, ...], features: Sequence[int] | None
) -> dict[int, str]:
    """Maps the levels that are asked for to the blocks that make them."""
    if features is None:
        return {}
    by_level, levels = reduction_blocks(plan), tuple(features)
    if not levels or not set(levels) <= set(by_level):
        raise ValueError(
            "`features` must name at least one reduction level, out of "
            f"{min(by_level)} to {max(by_level)}. Received: features={features}"
        )
    return {level: by_level[level] for level in levels}
