"""MobileNetV1, MobileNetV2 and ResNets against keras.applications."""

import keras
import numpy as np
import pytest

from keras_efficientnet import Scaling, baselines, profile

SIDE = 64  # pixels
# Our model and theirs.
PEERS = {
    "MobileNetV1": (baselines.MobileNetV1, keras.applications.MobileNet),
    "MobileNetV2": (baselines.MobileNetV2, keras.applications.MobileNetV2),
    "ResNet50": (
        lambda **options: baselines.ResNet(50, version="v1", **options),
        keras.applications.ResNet50,
    ),
}


def randomize(model, seed=0):
    """Randomises all weights, including moving statistics."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        values = draw.normal(0, 0.1, weight.shape)
        if weight.path.endswith(("gamma", "moving_variance")):
            values = draw.uniform(0.5, 1.5, weight.shape)
        elif len(weight.shape) > 1:
            fan_in = np.prod(weight.shape[:-1])
            values = draw.normal(0, np.sqrt(2 / fan_in), weight.shape)
        weight.assign(values)


def copy_by_name(source, target):
    named = {layer.name: layer for layer in source.layers if layer.weights}
    for layer in target.layers:
        if layer.weights:
            name = layer.name
            name = name if name in named else "conv_preds"  # they use a 1x1 convolution
            values = [w.numpy() for w in named.pop(name).weights]
            layer.set_weights(
                [v.reshape(w.shape) for v, w in zip(values, layer.weights, strict=True)]
            )
    assert not named


@pytest.mark.parametrize("key", PEERS)
def test_unscaled_equals_keras_applications(key):
    ours, theirs = PEERS[key]
    peer = theirs(weights=None, input_shape=(SIDE, SIDE, 3), classes=7)
    randomize(peer)
    model = ours(resolution=SIDE, classes=7, normalization="none")
    copy_by_name(peer, model)
    assert model.count_params() == peer.count_params()
    images = np.random.default_rng(1).normal(0, 1, (2, SIDE, SIDE, 3))
    images = images.astype(np.float32)
    wanted = keras.ops.convert_to_numpy(peer(images))
    assert wanted.max() > 0.2  # otherwise all outputs would be alike
    found = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_resnet_v1_5():
    """Source: torchvision's resnet50: 25,557,032 parameters, 4.09 G multiply-adds."""
    cost = profile(baselines.ResNet(50))
    assert cost.trainable_params == 25_557_032
    assert round(cost.multiply_adds / 1e9, 2) == 4.09


def test_scaling_by_hand():
    """Half of 32, 64, 128 ... channels; 2 blocks become 2 x 1.5, rounded up."""
    scaling = Scaling(depth=1.5, width=0.5, resolution=2)
    model = baselines.MobileNetV1(scaling, resolution=32, classes=3)
    assert model.input_shape[1:3] == (64, 64)
    filters = [
        la.filters
        for la in model.layers
        if isinstance(la, keras.layers.Conv2D)
        and not isinstance(la, keras.layers.DepthwiseConv2D)
    ]
    stages = [32] * 2 + [64] * 3 + [128] * 3 + [256] * 9 + [512] * 3
    assert filters == [16, *stages]


def test_rejects_unknown_depths_and_versions():
    with pytest.raises(ValueError, match="`depth` must be one of 50, 152"):
        baselines.ResNet(51)
    with pytest.raises(
        ValueError, match="Did you mean 'v1.5'. Received: version='v15'"
    ):
        baselines.ResNet(50, version="v15")
