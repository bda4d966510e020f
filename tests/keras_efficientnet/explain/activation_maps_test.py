import keras
import numpy as np
import pytest

from keras_efficientnet import EfficientNet, explain
from keras_efficientnet.explain import with_features

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)


def head(pooled, activation="softmax"):
    return keras.layers.Dense(3, activation=activation, name="top")(pooled)


def build(finish):
    """Returns a network with the head `finish`."""
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
def test_averaged_maps_are_the_scores_of_the_classes(key):
    """Golden: the output of the head, which sums in another order."""
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
def test_other_heads_have_no_maps(key):
    assert with_features(build(OTHER[key])) is None


def test_our_networks_have_maps(tiny):
    network, kernel = with_features(tiny)
    assert network.outputs[1].shape[1:3] == (1, 1)  # of 32 pixels
    assert kernel.shape == (network.outputs[1].shape[3], 4)


def nest(kind):
    """Our network nested in other models, as users build them."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    if kind == "whole":
        inner = EfficientNet(0.25, 0.25, 64, classes=3)
        return keras.Sequential(
            [keras.Input((64, 64, 3)), layers.Rescaling(1.0), inner]
        )
    pooling = "avg" if kind == "pooled" else None
    base = EfficientNet(
        0.25, 0.25, 64, include_top=False, pooling=pooling, input_shape=(64, 64, 3)
    )
    inputs = keras.Input((64, 64, 3))
    x = base(layers.RandomFlip()(inputs))
    x = x if pooling else layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


PHOTOS = np.random.default_rng(2).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)


def answer(model, images=PHOTOS):
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.fixture(scope="module", params=["whole", "pooled", "features"])
def nested(request):
    return nest(request.param)


def test_nested_models_have_maps(nested):
    """Golden: without biases, differences of logits equal those of mean maps."""
    model = explain.flatten(nested)
    dense = next(la for la in reversed(model.layers) if hasattr(la, "kernel"))
    dense.bias.assign([0.0, 0.0, 0.0])
    np.testing.assert_allclose(answer(model), answer(nested), atol=1e-6)
    maps = [explain.class_maps(nested, PHOTOS, index) for index in range(3)]
    assert maps[0].shape == (2, 2, 2)
    scores = np.stack([m.mean(axis=(1, 2)) for m in maps], axis=1)
    wanted = np.log(answer(nested))
    difference = scores - wanted
    np.testing.assert_allclose(difference - difference[:, :1], 0, atol=1e-4)


def test_grad_cam_is_the_positive_part_of_cam(nested):
    """Source: arXiv:1610.02391, section 3.1: Grad-CAM generalises CAM."""
    cam = explain.class_maps(nested, PHOTOS, [2, 0])
    grad_cam = explain.class_maps(nested, PHOTOS, [2, 0], method="grad_cam")
    np.testing.assert_allclose(grad_cam, np.maximum(cam, 0) / 4, rtol=1e-3, atol=1e-5)


def test_accepts_any_size_and_defaults_to_the_most_probable_class():
    model = build(GOOD["softmax"])
    open_size = keras.models.clone_model(
        model, input_tensors=keras.Input((None, None, 3))
    )
    open_size.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 9, 12, 3)).astype(np.float32)
    maps = explain.class_maps(open_size, images)
    assert maps.shape == (2, 7, 10)
    answers = answer(open_size, images).argmax(axis=1)
    np.testing.assert_array_equal(maps, explain.class_maps(open_size, images, answers))


def test_localises_a_bright_corner():
    """The map of a class that depends on brightness is highest where it is bright."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(2, 4, strides=4, kernel_initializer="ones")(inputs)
    outputs = keras.layers.Dense(2, activation="softmax", name="top")
    model = keras.Model(inputs, outputs(average(x)))
    outputs.kernel.assign([[0.0, 1.0], [0.0, 1.0]])
    image = np.zeros((1, 16, 16, 3), np.float32)
    image[0, 12:, :4] = 1
    for method in explain.METHODS:
        maps = explain.class_maps(model, image, 1, method)
        assert np.unravel_index(maps[0].argmax(), maps[0].shape) == (3, 0)
        heat = explain.heatmaps(maps, 16, 16)
        assert heat.shape == (1, 16, 16)
        assert (heat[0, 15, 0], heat[0, 0, 15]) == (1, 0)


def test_grad_cam_supports_heads_that_cam_does_not():
    images = IMAGES / 255
    model = build(OTHER["hidden"])
    maps = explain.class_maps(model, images, 0, "grad_cam")
    assert maps.shape == (2, 6, 6)
    with pytest.raises(ValueError, match="dense layer; .* method='grad_cam'"):
        explain.class_maps(model, images, 0)


def test_heatmap_without_positive_values_is_zero():
    assert not explain.heatmaps(-np.ones((1, 2, 2)), 8, 8).any()


def test_rejects_invalid_arguments():
    model = build(GOOD["plain"])
    with pytest.raises(ValueError, match="Did you mean 'grad_cam'"):
        explain.class_maps(model, IMAGES, method="grad-cam")
    with pytest.raises(ValueError, match="from 0 to 2. Received: classes=3"):
        explain.class_maps(model, IMAGES, 3)
    flat = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must have feature maps"):
        explain.class_maps(flat, np.ones((1, 8)), 0, "grad_cam")


class Subclass(keras.Model):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, images):
        return self.network(images)


@pytest.mark.parametrize("method", explain.METHODS)
def test_rejects_unsupported_models(method):
    network = build(GOOD["plain"])
    subclass = Subclass(network)
    subclass(IMAGES)
    with pytest.raises(ValueError, match=r"functional.*class Subclass"):
        explain.class_maps(subclass, IMAGES, method=method)
    other = keras.Input((8, 8, 3), name="other")
    two_inputs = keras.Model([network.input, other], network.output + network(other))
    with pytest.raises(ValueError, match=r"one input.* with 2: \w+, other"):
        explain.class_maps(two_inputs, [IMAGES, IMAGES], method=method)
    two_outputs = keras.Model(network.input, [network.output, network.output])
    with pytest.raises(ValueError, match="one output.* with 2 outputs"):
        explain.class_maps(two_outputs, IMAGES, method=method)


def test_class_maps_require_keras_3(monkeypatch):
    monkeypatch.delattr(keras, "ops")
    with pytest.raises(ImportError, match="Keras 3 must be installed"):
        explain.class_maps(None, IMAGES)
