import keras
import numpy as np
import pytest

from keras_efficientnet.common import output_activation as oa

layers = keras.layers
X = np.float32([[1.0, -2.0], [0.5, 3.0]])


def model(*tail, width=2):
    inputs = keras.Input((width,))
    x = inputs
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, x)


def body(activation):
    return keras.Sequential([keras.Input((2,)), layers.Dense(3, activation)])


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ([layers.Dense(3, "softmax")], "softmax"),
        ([layers.Dense(3)], "linear"),
        ([layers.Dense(3, "sigmoid")], "sigmoid"),
        ([layers.Dense(1, "sigmoid")], "sigmoid"),
        ([layers.Dense(3), layers.Softmax()], "softmax"),
        ([layers.Dense(3), layers.Activation("sigmoid")], "sigmoid"),
        ([layers.Dense(3), layers.Activation("linear", dtype="float32")], "linear"),
        ([layers.Dense(3, "softmax"), layers.Dropout(0.1)], "softmax"),
        ([layers.Dense(3), layers.Reshape((3,)), layers.Softmax()], "softmax"),
        ([layers.Dense(3, "log_softmax")], "linear"),
        ([body("softmax")], "softmax"),
        ([body(None), layers.Activation("softmax")], "softmax"),
        ([body("sigmoid")], "sigmoid"),
        ([layers.Dense(3), keras.ops.softmax], "softmax"),
        ([layers.Dense(3), keras.ops.sigmoid], "sigmoid"),
        ([layers.Reshape((1, 1, 2)), layers.Conv2D(4, 1)], "linear"),
    ],
)
def test_is_the_last_activation(tail, expected):
    assert oa.output_activation(model(*tail)) == expected


def test_average_of_softmaxes_is_softmax():
    inputs = keras.Input((2,))
    parts = [layers.Dense(3, "softmax")(inputs) for _ in range(2)]
    assert oa.output_activation(keras.Model(inputs, layers.Average()(parts))) == (
        "softmax"
    )
    mixed = layers.Average()([parts[0], layers.Dense(3)(inputs)])
    with pytest.raises(ValueError, match="of type Average"):
        oa.output_activation(keras.Model(inputs, mixed))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ([layers.Dense(3, "relu")], r"activation relu"),
        ([layers.Dense(3), layers.ReLU()], r"of type ReLU"),
        ([layers.Dense(3), lambda x: x * 2], r"of type Multiply"),
        ([layers.Dense(1, "softmax")], "softmax over one output is always 1"),
    ],
)
def test_rejects_unknown_last_activations(tail, message):
    with pytest.raises(ValueError, match=message):
        oa.output_activation(model(*tail))


def test_probabilities_by_hand():
    # exp(1), exp(-2) over their sum; 1 / (1 + exp(-1)).
    np.testing.assert_allclose(
        oa.to_probabilities(X, "linear"),
        [[0.952574, 0.047426], [0.075858, 0.924142]],
        atol=1e-6,
    )
    np.testing.assert_array_equal(oa.to_probabilities(X, "sigmoid"), X)
    np.testing.assert_allclose(
        oa.to_probabilities([[1.0]], "linear"), [[0.268941, 0.731059]], atol=1e-6
    )
    assert oa.to_probabilities([[500.0, 0.0]], "linear").tolist() == [[1, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rejects_outputs_that_are_not_finite(bad):
    with pytest.raises(ValueError, match="finite numbers.* for 1 of 2 images"):
        oa.check_finite(np.float32([[0, 1], [bad, 0]]))


@pytest.mark.parametrize("end", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("outputs", [1, 3])
def test_probability_model_equals_to_probabilities(end, outputs):
    if (end, outputs) == ("softmax", 1):
        return
    net = model(layers.Dense(outputs, end, name="softmax"))
    found = oa.probability_model(net)
    expected = oa.to_probabilities(net(X), oa.output_activation(net))
    np.testing.assert_allclose(found(X), expected, atol=1e-6)
    assert found.output_shape[-1] == oa.class_count(outputs, end or "linear")
    assert (found is net) == (end == "softmax" or (end == "sigmoid" and outputs == 3))
