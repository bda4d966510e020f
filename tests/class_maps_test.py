import keras
import numpy as np
import pytest

from export.class_maps import with_features

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)


def head(pooled, activation="softmax"):
    return keras.layers.Dense(3, activation=activation, name="top")(pooled)


def build(finish):
    """Returns a network that ends in what `finish` makes of features."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(5, 3, activation="relu")(inputs)
    return keras.Model(inputs, finish(features))


def average(x):
    return keras.layers.GlobalAveragePooling2D()(x)


GOOD = {
    "plain": lambda x: head(average(x)),
    "dropout": lambda x: head(keras.layers.Dropout(0.2)(average(x))),
    "activation": lambda x: keras.layers.Activation("softmax")(head(average(x), None)),
    "softmax": lambda x: keras.layers.Softmax()(head(average(x), None)),
}
OTHER = {
    "maximum": lambda x: head(keras.layers.GlobalMaxPooling2D()(x)),
    "hidden": lambda x: head(keras.layers.Dense(4)(average(x))),
    "flat": lambda x: head(keras.layers.Flatten()(x)),
    "sigmoid": lambda x: head(average(x), "sigmoid"),
    "twice": lambda x: keras.layers.Softmax()(head(average(x))),
    "no_dense": lambda x: keras.layers.Softmax()(average(x)),
    "first": lambda x: head(
        keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    ),
}


@pytest.mark.parametrize("key", GOOD)
def test_maps_averaged_are_the_classes_scores(key):
    """Golden: the head's own answer, by another order of sums."""
    model = build(GOOD[key])
    network, kernel = with_features(model)
    probabilities, features = network.predict(IMAGES, verbose=0)
    assert features.shape == (2, 6, 6, 5)
    np.testing.assert_array_equal(probabilities, model.predict(IMAGES, verbose=0))
    scores = (features @ kernel).mean(axis=(1, 2)) + model.get_layer("top").bias.numpy()
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    wanted = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-4)


@pytest.mark.parametrize("key", OTHER)
def test_other_heads_have_none(key):
    assert with_features(build(OTHER[key])) is None


def test_our_networks_have_them(tiny):
    network, kernel = with_features(tiny)
    assert network.outputs[1].shape[1:3] == (1, 1)  # of 32 pixels
    assert kernel.shape == (network.outputs[1].shape[3], 4)
