import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from export.transforms.fold_batch_norm import fold_batch_norm

layers = keras.layers


def randomize(model):
    """Gives all weights of a network random values, variances above 0."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        values = [rng.uniform(-0.5, 0.5, w.shape) for w in layer.weights]
        if isinstance(layer, layers.BatchNormalization):
            values[-1] = np.abs(values[-1]) + 0.5
        layer.set_weights(values)
    return model


def check_outputs(model, size, **options):
    """Compares a folded network with Keras on several images at once."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 255, (3, size, size, model.input.shape[-1])).astype(np.float32)
    folded = fold_batch_norm(model, **options)
    expected, found = model(x, training=False), folded(x, training=False)
    scale = max(float(np.abs(y).max()) for y in keras.tree.flatten(expected))
    for a, b in zip(*map(keras.tree.flatten, (expected, found)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)
    return folded


def kinds(model):
    return {type(layer) for layer in model.layers}


@pytest.mark.parametrize("options", [{}, {"lite": True}, {"padding": "symmetric"}])
def test_network_keeps_its_outputs(options):
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4, **options)
    folded = check_outputs(randomize(model), 33)
    assert layers.BatchNormalization not in kinds(folded)
    assert layers.BatchNormalization in kinds(model)


@pytest.mark.parametrize("options", [{}, {"lite": True}, {"family": "v2"}])
def test_can_keep_the_classes_of_the_layers(options):
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4, **options)
    folded = check_outputs(randomize(model), 33, tensorflow_layers=False)
    assert kinds(folded) == kinds(model) - {layers.BatchNormalization}


class Unregistered(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype)


def sum_of_squares(weights):
    return keras.ops.sum(weights * weights)


@pytest.mark.parametrize("tensorflow_layers", [False, True])
def test_settings_for_training_need_not_be_serialisable(tensorflow_layers):
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(
        4,
        3,
        kernel_initializer=Unregistered(),
        kernel_regularizer=sum_of_squares,
    )
    x = layers.BatchNormalization()(conv(inputs))
    model = randomize(keras.Model(inputs, x))
    conv.enable_lora(2)
    check_outputs(model, 8, tensorflow_layers=tensorflow_layers)


def test_layers_without_normalization_are_shared():
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(4, 3, activation="silu", name="plain")(x)
    x = layers.Activation("silu")(layers.Conv2D(4, 3, name="other")(x))
    model = keras.Model(inputs, layers.DepthwiseConv2D(3)(x))
    folded = check_outputs(randomize(model), 8, tensorflow_layers=False)
    assert folded.layers[1:] == model.layers[1:]


def test_graph_has_no_normalization_and_few_operations_per_swish():
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 32, classes=4)
    folded = fold_batch_norm(model)
    spec = tf.TensorSpec((None, 32, 32, 3), tf.float32)
    call = tf.function(lambda x: folded(x, training=False), input_signature=[spec])
    found = [x.type for x in call.get_concrete_function().graph.get_operations()]
    activations = sum(
        getattr(layer, "activation", None) is keras.activations.silu
        for layer in model.layers
    )
    gates = sum(layer.name.endswith("se_expand") for layer in model.layers)
    reductions = sum(layer.name.endswith("se_reduce") for layer in model.layers)
    assert found.count("SoftplusGrad") == reductions
    assert found.count("Tanh") == activations - reductions
    assert found.count("Sigmoid") == gates
    assert "Rsqrt" not in found
    convolutions = [layer for layer in model.layers if "Conv2D" in type(layer).__name__]
    assert found.count("BiasAdd") == len(convolutions) + 1  # and the classifier


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_folds_biases_and_missing_parameters(center, use_bias):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=use_bias)(x)
    x = layers.BatchNormalization(center=center, scale=not center)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=use_bias)(x)
    x = layers.BatchNormalization(center=not center, scale=center)(x)
    folded = check_outputs(randomize(keras.Model(inputs, x)), 8)
    assert layers.BatchNormalization not in kinds(folded)


def test_keeps_normalization_that_it_cannot_fold():
    inputs = keras.Input((8, 8, 3))
    first = layers.BatchNormalization()(inputs)  # after no convolution
    active = layers.Conv2D(4, 3, padding="same", activation="relu")(first)
    second = layers.BatchNormalization()(active)
    shared = layers.Conv2D(4, 3, padding="same")(second)  # has another user
    third = layers.BatchNormalization()(shared)
    output = layers.Conv2D(4, 3)(third)  # is an output itself
    fourth = layers.BatchNormalization()(output)
    ends = [layers.Add()([shared, third]), output, fourth]
    folded = check_outputs(randomize(keras.Model(inputs, ends)), 8)
    norms = [x for x in folded.layers if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == 4


def test_layer_that_is_called_twice_keeps_its_outputs():
    inputs = keras.Input((8, 8, 4))
    conv, norm = layers.Conv2D(4, 1), layers.BatchNormalization()
    other = layers.BatchNormalization()
    x = norm(conv(norm(conv(inputs))))
    check_outputs(randomize(keras.Model(inputs, other(conv(x)))), 8)
