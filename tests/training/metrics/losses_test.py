import keras
import numpy as np
import pytest
import tensorflow as tf

from training.metrics import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_keras(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1], np.int32)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )(np.eye(4)[labels], logits)
    ours = losses.cross_entropy(tf.constant(labels), tf.constant(logits), smoothing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_cross_entropy_is_float32_for_half_precision():
    logits = tf.constant([[20.0, 0.0]], tf.float16)
    loss = losses.cross_entropy(tf.constant([1]), logits, 0.0)
    assert loss.dtype == tf.float32
    assert float(loss[0]) == pytest.approx(20.0, abs=1e-3)
