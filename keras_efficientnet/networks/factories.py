"""Factories: one function per variant, which builds it and loads its weights."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from ..architecture import VARIANTS
from ..weights import default_family, load_published, load_weights, published
from .builder import BN_EPSILON, build

_DOC = """Builds {name}, whose default resolution is {size} x {size} pixels.

    Args:
        include_top: Whether the network ends in a classifier.
        weights: Family of published weights (`list_weights` lists them all), path of
            a weight file, repository of a timm model on the Hugging Face Hub
            ("hf://OWNER/NAME"), or None for random weights. Defaults to "{family}". A
            family or repository sets `normalization`, `padding`, `bn_epsilon` and the
            image size unless you pass them.
        input_tensor: Keras tensor to build on, (batch, height, width, channels).
        input_shape: (height, width, channels); height and width may be None.
        pooling: Pooling of a network without top, "avg", "max" or None.
        classes: Number of classes of the classifier.
        classifier_activation: Activation of the classifier; None gives logits.
{include_preprocessing}        name: Name of the model.
        dropout: Dropout rate before the classifier. Defaults to {dropout}.
        drop_connect: Final rate of stochastic depth; rates rise linearly to it.
        in_channels: Number of input channels.
        normalization: Input normalisation, "imagenet", "inception", "inception128",
            "lite" or "none". Defaults to "{normalization}".
        padding: Padding of convolutions, "same" (TensorFlow's, the default) or
            "symmetric" (PyTorch's).
        bn_momentum: Momentum of the moving statistics.
        bn_epsilon: Constant added to the variance in batch normalisation. Defaults
            to 0.001.
        features: Reduction levels to return, from 1 to 5, as a dict of features.
        skip_head: Whether the classifier keeps random weights; needed for another
            number of classes.

    Returns:
        A functional model. Its input is RGB, 0 to 255, of any float dtype or
        uint8. Its output is (batch, classes) float32; without top, (batch, height
        / 32, width / 32, channels), or (batch, channels) float32 when pooled.

    Raises:
        ValueError: An argument is out of its range, or the weights do not fit.

    Source:
        {source}
    """


_PREPROCESSING_DOC = """\
        include_preprocessing: Whether the model normalises pixels itself. With False
            you pass normalised images; published weights expect the normalisation
            that `weights_info` names.
"""
_SOURCES = {
    "v1": "arXiv:1905.11946; coefficients, tensorflow/tpu, efficientnet_builder.py.",
    "v2": "arXiv:2104.00298; google/automl, efficientnetv2/effnetv2_configs.py.",
    "edgetpu": "tensorflow/tpu, edgetpu/efficientnet_edgetpu_builder.py.",
}


def factory(key: str) -> Callable[..., keras.Model]:
    """Creates the factory of a variant, with keras.applications' positional arguments.

    Args:
        key: Key of `VARIANTS`.
    """
    variant, family = VARIANTS[key], default_family(key)
    momentum = variant.conventions.bn_momentum

    def build_variant(
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
        bn_momentum: float = momentum,
        bn_epsilon: float | None = None,
        features: Sequence[int] | None = None,
        skip_head: bool = False,
    ) -> keras.Model:
        return _build(
            key,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            dropout=dropout,
            drop_connect=drop_connect,
            in_channels=in_channels,
            normalization=normalization,
            padding=padding,
            bn_momentum=bn_momentum,
            bn_epsilon=bn_epsilon,
            features=features,
            skip_head=skip_head,
        )

    return _documented(build_variant, key)


def factory_with_preprocessing(key: str) -> Callable[..., keras.Model]:
    """Creates the factory of a variant with the argument `include_preprocessing`.

    Its position is the same as in keras.applications.efficientnet_v2.

    Args:
        key: Key of `VARIANTS`.
    """
    variant, family = VARIANTS[key], default_family(key)
    own_name = re.sub("(V2|EdgeTPU)", r"\1-", key).replace("NetE", "Net-E").lower()
    momentum = variant.conventions.bn_momentum

    def build_variant(
        include_top: bool = True,
        weights: str | os.PathLike[str] | None = family,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        include_preprocessing: bool = True,
        name: str = own_name,
        *,
        dropout: float | None = None,
        drop_connect: float = 0.2,
        in_channels: int | None = None,
        normalization: str | None = None,
        padding: str | None = None,
        bn_momentum: float = momentum,
        bn_epsilon: float | None = None,
        features: Sequence[int] | None = None,
        skip_head: bool = False,
    ) -> keras.Model:
        _check_preprocessing(include_preprocessing, normalization, input_tensor)
        return _build(
            key,
            has_own_preprocessing=not include_preprocessing,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            dropout=dropout,
            drop_connect=drop_connect,
            in_channels=in_channels,
            normalization=normalization,
            padding=padding,
            bn_momentum=bn_momentum,
            bn_epsilon=bn_epsilon,
            features=features,
            skip_head=skip_head,
        )

    return _documented(build_variant, key)


def _build(
    key: str,
    *,
    include_top: bool,
    weights: str | os.PathLike[str] | None,
    input_shape: Sequence[int | None] | None,
    in_channels: int | None,
    normalization: str | None,
    padding: str | None,
    bn_epsilon: float | None,
    features: Sequence[int] | None,
    skip_head: bool,
    has_own_preprocessing: bool = False,
    **options: Any,
) -> keras.Model:
    has_top = include_top and not features
    record = published(weights, key, has_top and not skip_head)
    epsilon = record.bn_epsilon if record else BN_EPSILON
    if record and input_shape is None and has_top:
        input_shape = (record.resolution, record.resolution, in_channels or 3)
    if has_own_preprocessing:
        normalization = "none"
    model = build(
        VARIANTS[key],
        include_top=include_top,
        input_shape=input_shape,
        in_channels=in_channels,
        normalization=normalization or (record.normalization if record else None),
        padding=padding or (record.padding if record else "same"),
        bn_epsilon=epsilon if bn_epsilon is None else bn_epsilon,
        features=features,
        **options,
    )
    checks = not has_own_preprocessing
    if record:
        load_published(model, record, skip_head=skip_head, check_normalization=checks)
    elif weights is not None:
        load_weights(model, weights, skip_head=skip_head, check_normalization=checks)
    return model


def _check_preprocessing(
    include_preprocessing: bool, normalization: str | None, input_tensor: Any
) -> None:
    if include_preprocessing:
        return
    if normalization is not None:
        raise ValueError(
            "`normalization` must be None with `include_preprocessing=False`, which "
            "leaves normalisation to you. Received: include_preprocessing=False, "
            f"normalization={normalization!r}"
        )
    dtype = str(getattr(input_tensor, "dtype", "float32"))
    if "int" in dtype:
        raise ValueError(
            "`include_preprocessing` must be True for an `input_tensor` of integers, "
            "because normalised images are fractions. Received: "
            f"include_preprocessing=False, input_tensor of dtype {dtype}"
        )


def _documented(function: Callable[..., Any], key: str) -> Callable[..., keras.Model]:
    variant = VARIANTS[key]
    has_preprocessing = variant.family != "v1"
    function.__name__ = function.__qualname__ = key
    function.__module__ = "keras_efficientnet.efficientnet"  # its public module
    function.__doc__ = _DOC.format(
        name=key,
        size=variant.resolution,
        dropout=variant.dropout,
        normalization=variant.normalization,
        family=default_family(key),
        include_preprocessing=_PREPROCESSING_DOC if has_preprocessing else "",
        source=_SOURCES[variant.family],
    )
    return function
