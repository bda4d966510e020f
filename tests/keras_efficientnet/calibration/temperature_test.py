import keras
import numpy as np
import pytest

from keras_efficientnet.calibration.temperature import fold_temperature


def network(end="dense", classes=3):
    """Returns a classifier and the model of its logits, which share the weights."""
    inputs = keras.Input((4,))
    activation = "softmax" if end == "dense" else None
    dense = keras.layers.Dense(classes, activation=activation)
    outputs = dense(inputs)
    if end == "softmax":
        outputs = keras.layers.Softmax()(outputs)
    elif end == "relu":
        outputs = keras.layers.ReLU()(outputs)
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    dense.set_weights([rng.normal(0, 3, w.shape) for w in dense.get_weights()])
    return model, dense


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("end", ["dense", "softmax"])
@pytest.mark.parametrize("temperature", [0.5, 2.5, np.array([0.5, 1.0, 2.0])])
def test_logits_are_divided_by_the_temperature(end, temperature):
    model, dense = network(end)
    kernel, bias = dense.get_weights()
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    fold_temperature(model, temperature)
    wanted = softmax((x @ kernel + bias) / temperature)
    np.testing.assert_allclose(model(x), wanted, atol=1e-6)


def test_layers_stay_the_same():
    model, _ = network()
    before = model.get_config()
    fold_temperature(model, 2.0)
    assert model.get_config() == before


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), np.array([1, 0, 1])])
def test_rejects_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(ValueError, match="must be above 0. Received: temperature"):
        fold_temperature(network()[0], temperature)


def test_rejects_a_wrong_number_of_temperatures():
    with pytest.raises(ValueError, match="each of the 3 classes. Received: 2 numbers"):
        fold_temperature(network()[0], (1.0, 2.0))


def test_rejects_a_model_without_a_dense_classifier():
    with pytest.raises(ValueError, match="must end in a Dense layer"):
        fold_temperature(network("relu")[0], 2.0)
