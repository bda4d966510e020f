import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine.checkpoints import Checkpoints
from training.engine.train_state import TrainState


def make_state(ema_decay=0.9):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(2, name="dense")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Dropout(0.5)(x)
    model = keras.Model(inputs, x)
    return TrainState(model, keras.optimizers.SGD(0.1, momentum=0.9), ema_decay)


def train_one(state, seed):
    x = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(state.model(x, training=True) ** 2)
    weights = state.model.trainable_variables
    state.optimizer.apply(tape.gradient(loss, weights), weights)
    state.step.assign_add(1)
    state.update_ema()


def everything(state):
    model = [np.array(v) for v in state.model.variables]
    slots = [np.array(v) for v in state.optimizer.variables]
    with state.ema_weights():
        average = [np.array(v) for v in state.model.weights]
    return [*model, *slots, *average, state.step.numpy(), state.sums.numpy()]


def test_ema_matches_hand_computation_with_decay_ramp():
    state = make_state(ema_decay=0.3)
    kernel = state.model.get_layer("dense").kernel
    mean = state.model.get_layer("bn").moving_mean
    expected_kernel, expected_mean = kernel.numpy(), mean.numpy()
    for step in range(1, 5):
        train_one(state, step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected_kernel = decay * expected_kernel + (1 - decay) * kernel.numpy()
        expected_mean = decay * expected_mean + (1 - decay) * mean.numpy()
    with state.ema_weights():
        np.testing.assert_allclose(kernel.numpy(), expected_kernel, rtol=1e-5)
        np.testing.assert_allclose(mean.numpy(), expected_mean, rtol=1e-5)


def test_ema_weights_are_swapped_in_temporarily():
    state = make_state()
    train_one(state, 0)
    before = [np.array(v) for v in state.model.variables]
    with contextlib.suppress(KeyError), state.ema_weights():
        assert np.any(state.model.get_layer("dense").kernel.numpy() != before[0])
        raise KeyError
    for old, new in zip(before, state.model.variables, strict=True):
        np.testing.assert_array_equal(old, np.array(new))


def test_training_resumes_identically_from_a_checkpoint(tmp_path):
    straight = make_state()
    for step in range(3):
        train_one(straight, step)
    straight.save(Checkpoints(tmp_path, keep=2))
    restored = make_state()
    assert restored.checksum() != straight.checksum()
    restored.restore(Checkpoints(tmp_path, keep=2))
    assert restored.checksum() == straight.checksum()
    assert restored.checksum("model") != restored.checksum()
    for old, new in zip(everything(straight), everything(restored), strict=True):
        np.testing.assert_array_equal(old, new)
    # Equal only because the checkpoint holds the dropout seed too.
    train_one(straight, 3)
    train_one(restored, 3)
    for old, new in zip(everything(straight), everything(restored), strict=True):
        np.testing.assert_array_equal(old, new)


def test_average_and_checkpoints_reject_non_finite_weights(tmp_path):
    state, saved = make_state(), Checkpoints(tmp_path, keep=2)
    train_one(state, 0)
    state.save(saved)
    good = everything(state)
    kernel = state.model.get_layer("dense").kernel
    with state.ema_weights():
        average = kernel.numpy()
    kernel.assign(np.array([[np.nan, 1.0], [np.inf, 1.0], [-np.inf, 1.0]]))
    state.step.assign_add(1)
    state.update_ema()
    with pytest.raises(FloatingPointError, match=r"model/0 \(.*kernel.* is not finite"):
        state.save(saved)
    with state.ema_weights():
        found = kernel.numpy()
    np.testing.assert_array_equal(found[:, 0], average[:, 0])
    decay = 3 / 12  # (1 + t) / (10 + t) after two steps
    expected = decay * average[:, 1] + (1 - decay)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000001.npz"]
    state.restore(saved)
    for old, new in zip(good, everything(state), strict=True):
        np.testing.assert_array_equal(old, new)


def test_best_epoch_is_chosen_by_top1_then_by_loss():
    state = make_state()
    assert state.is_best(0.0, 5.0)
    state.best_top1.assign(0.9)
    state.best_loss.assign(0.5)
    assert state.is_best(0.91, 9.0)
    assert state.is_best(0.9, 0.4)
    assert not state.is_best(0.9, 0.5)
    assert not state.is_best(0.89, 0.1)


def test_saved_ema_weights_load_into_the_model(tmp_path):
    state = make_state()
    train_one(state, 0)
    path = tmp_path / "best.weights.h5"
    state.save_ema_weights(path)
    with state.ema_weights():
        expected = state.model.get_weights()
    state.model.load_weights(path)
    for old, new in zip(expected, state.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
