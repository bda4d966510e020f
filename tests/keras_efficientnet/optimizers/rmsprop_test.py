import keras
import numpy as np
import pytest
from keras import ops

from keras_efficientnet.optimizers import TF1RMSprop
from tests.support.optimizer_cases import RATES, StepRates, take_steps

SHAPES = [(3, 2), (4,), (2, 3, 1, 2)]


def random_steps():
    rng = np.random.default_rng(0)
    draws = [
        [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
        for _ in range(1 + len(RATES))
    ]
    return draws[0], draws[1:]


def test_steps_equal_the_rule_of_tensorflow_1():
    # The rule of ApplyRMSProp in tensorflow's training_ops.cc, in float64; the slot
    # "rms" starts at one in python/training/rmsprop.py.
    starts, gradients = random_steps()
    found = take_steps(TF1RMSprop(StepRates()), starts, gradients)
    for i, start in enumerate(starts):
        weight = start.astype(np.float64)
        mean_square, momentum = np.ones_like(weight), np.zeros_like(weight)
        for step, rate in enumerate(RATES):
            gradient = gradients[step][i].astype(np.float64)
            mean_square = 0.9 * mean_square + 0.1 * gradient**2
            momentum = 0.9 * momentum + rate * gradient / np.sqrt(mean_square + 1e-3)
            weight = weight - momentum
            np.testing.assert_allclose(found[step][i], weight, atol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compares with TensorFlow"
)
def test_steps_and_slots_equal_those_of_tensorflow_1():
    import tensorflow as tf

    starts, gradients = random_steps()
    reference, ours = tf.Variable(starts[0]), keras.Variable(starts[0])
    optimizer = TF1RMSprop(StepRates())
    rate = tf.Variable(0.0)
    theirs = tf.compat.v1.train.RMSPropOptimizer(
        lambda: rate, decay=0.9, momentum=0.9, epsilon=1e-3
    )
    for step, row in enumerate(gradients):
        rate.assign(RATES[step])
        theirs.apply_gradients([(tf.constant(row[0]), reference)])
        optimizer.apply([tf.constant(row[0])], [ours])
        np.testing.assert_allclose(ours.numpy(), reference.numpy(), atol=1e-6)
        for slot, name in (
            (optimizer._mean_squares, "rms"),
            (optimizer._momentums, "momentum"),
        ):
            expected = theirs.get_slot(reference, name).numpy()
            np.testing.assert_allclose(slot[0].numpy(), expected, atol=1e-6)


def test_first_step_by_hand():
    weight = keras.Variable([1.0])
    TF1RMSprop(0.1).apply([ops.convert_to_tensor([2.0])], [weight])
    # ms = 0.9 * 1 + 0.1 * 4, because the mean square starts at one.
    expected = 1.0 - 0.1 * 2.0 / np.sqrt(1.3 + 1e-3)
    assert ops.convert_to_numpy(weight)[0] == pytest.approx(expected, rel=1e-6)


def test_half_precision_weights_are_updated():
    weight = keras.Variable([1.0], dtype="bfloat16")
    TF1RMSprop(0.1).apply([ops.convert_to_tensor([2.0], "bfloat16")], [weight])
    found = ops.convert_to_numpy(ops.cast(weight, "float32"))
    assert found[0] == pytest.approx(1.0 - 0.2 / np.sqrt(1.301), abs=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 1.0}, "`rho` must be at least 0 and under 1. Received: rho=1.0"),
        ({"momentum": -0.1}, "`momentum` must be at least 0 and under 1"),
        ({"epsilon": -1e-3}, "`epsilon` must be finite and at least 0"),
        ({"l2": float("nan")}, "`l2` must be finite and at least 0. Received: l2=nan"),
    ],
)
def test_rejects_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        TF1RMSprop(0.1, **arguments)
