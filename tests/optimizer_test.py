import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from training import optimizer

RATES = (0.1, 0.05, 0.2, 0.2)


class StepRates(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return tf.gather(tf.constant(RATES), step)


def test_rmsprop_takes_the_steps_of_tensorflow_1():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 2)).astype(np.float32)
    gradients = rng.normal(size=(len(RATES), 3, 2)).astype(np.float32)
    reference = tf.Variable(start)
    ours = keras.Variable(start)
    optim = optimizer.TF1RMSprop(StepRates())
    rate = tf.Variable(0.0)
    theirs = tf.compat.v1.train.RMSPropOptimizer(
        lambda: rate, decay=0.9, momentum=0.9, epsilon=1e-3
    )
    for step, gradient in enumerate(gradients):
        rate.assign(RATES[step])
        theirs.apply_gradients([(tf.constant(gradient), reference)])
        optim.apply([tf.constant(gradient)], [ours])
        np.testing.assert_allclose(ours.numpy(), reference.numpy(), atol=1e-6)


def test_rmsprop_first_step_by_hand():
    weight = keras.Variable([1.0])
    optim = optimizer.TF1RMSprop(0.1)
    optim.apply([tf.constant([2.0])], [weight])
    # ms = 0.9 * 1 + 0.1 * 4, because the mean square starts at one.
    expected = 1.0 - 0.1 * 2.0 / np.sqrt(1.3 + 1e-3)
    assert weight.numpy()[0] == pytest.approx(expected, rel=1e-6)


def test_rmsprop_survives_its_config():
    optim = optimizer.TF1RMSprop(0.1, rho=0.8, momentum=0.7, epsilon=1e-2)
    again = optimizer.TF1RMSprop.from_config(optim.get_config())
    assert (again.rho, again.momentum, again.epsilon) == (0.8, 0.7, 1e-2)


@pytest.mark.parametrize("name", optimizer.OPTIMIZERS)
def test_every_optimizer_moves_a_weight(name):
    weight = keras.Variable([1.0])
    optimizer.make(name, 0.1, 0.0).apply([tf.constant([2.0])], [weight])
    assert weight.numpy()[0] < 1.0


def test_decay_covers_what_the_original_covers():
    # Source: tensorflow/tpu, B0 at 1000 classes: 115 tensors, 5,246,532 scalars.
    model = keras_efficientnet.EfficientNetB0(weights=None)
    decaying = optimizer.decays(model)
    assert len(decaying) == 115
    assert sum(int(np.prod(w.shape)) for w in decaying) == 5_246_532


def test_decoupled_decay_leaves_batch_norm_alone():
    inputs = keras.Input((2,))
    x = keras.layers.Dense(2, name="dense")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x))
    optim = optimizer.make("adamw", 0.1, weight_decay=0.5)
    optimizer.exclude_batch_norm(optim, model)
    optim.build(model.trainable_variables)
    dense, bn = model.get_layer("dense"), model.get_layer("bn")
    before = dense.kernel.numpy()
    zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
    optim.apply(zeros, model.trainable_variables)
    np.testing.assert_allclose(dense.kernel.numpy(), 0.95 * before, rtol=1e-6)
    np.testing.assert_array_equal(bn.gamma.numpy(), [1.0, 1.0])
