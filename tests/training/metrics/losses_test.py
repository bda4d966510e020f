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


LOGITS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 0, 1], np.int32)
ROWS = np.eye(4, dtype=np.float32)[LABELS]
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", [LABELS, ROWS])
def test_class_weights_scale_the_loss_of_their_images(smoothing, labels):
    plain = losses.cross_entropy(tf.constant(LABELS), LOGITS, smoothing)
    loss = losses.make_weighted_loss(smoothing, class_weights=WEIGHTS)
    np.testing.assert_allclose(
        loss(tf.constant(labels), LOGITS), plain * WEIGHTS[LABELS], rtol=1e-5
    )


@pytest.mark.parametrize("fields", [{}, {"focal_gamma": 2.0}])
def test_mixed_images_have_the_mixture_of_both_weighted_losses(fields):
    loss = losses.make_weighted_loss(0.1, class_weights=WEIGHTS, **fields)
    first, second = LABELS, LABELS[::-1]
    mixed = 0.7 * ROWS + 0.3 * ROWS[::-1]
    expected = 0.7 * loss(tf.constant(first), LOGITS)
    expected += 0.3 * loss(tf.constant(second.copy()), LOGITS)
    np.testing.assert_allclose(loss(tf.constant(mixed), LOGITS), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_images_have_scaled_losses_and_gradients(smoothing):
    scale = np.array([0, 1, 2, 0.5, 3, 1], np.float32)[:, np.newaxis]
    loss = losses.make_weighted_loss(smoothing)
    logits = tf.constant(LOGITS)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        weighted = loss(tf.constant(ROWS * scale), logits)
        plain = losses.cross_entropy(tf.constant(ROWS), logits, smoothing)
    np.testing.assert_allclose(weighted, plain * scale[:, 0], rtol=1e-5)
    np.testing.assert_allclose(
        tape.gradient(weighted, logits),
        tape.gradient(plain, logits) * scale,
        atol=1e-6,
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_equals_keras(gamma):
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, reduction="none"
    )(ROWS, LOGITS)
    ours = losses.make_weighted_loss(0.0, focal_gamma=gamma)(LABELS, LOGITS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_focal_loss_has_a_finite_gradient_for_certain_predictions():
    logits = tf.constant([[200.0, -200.0], [-200.0, 200.0]])
    loss = losses.make_weighted_loss(0.0, focal_gamma=0.5)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(tf.constant([0, 0]), logits)
    np.testing.assert_allclose(value, [0.0, 400.0], atol=1e-4)
    assert np.isfinite(tape.gradient(value, logits)).all()


def test_logit_offsets_join_the_logits():
    offsets = np.log([0.7, 0.2, 0.05, 0.05])
    loss = losses.make_weighted_loss(0.1, logit_offsets=offsets)
    expected = losses.cross_entropy(
        tf.constant(LABELS), LOGITS + offsets.astype(np.float32), 0.1
    )
    np.testing.assert_allclose(loss(LABELS, LOGITS), expected, rtol=1e-5)


SETS = np.array(
    [
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 1],
        [0, 1, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 0, 1],
    ],
    np.float32,
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_equals_keras(smoothing):
    theirs = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )(SETS, LOGITS)
    ours = losses.make_binary_loss(smoothing)(tf.constant(SETS), LOGITS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_binary_focal_loss_equals_keras():
    theirs = keras.losses.BinaryFocalCrossentropy(
        gamma=2.0, from_logits=True, reduction="none"
    )(SETS, LOGITS)
    ours = losses.make_binary_loss(0.0, focal_gamma=2.0)(tf.constant(SETS), LOGITS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_positive_weights_equal_those_of_tensorflow():
    weights = np.array([0.5, 2.0, 1.0, 4.0], np.float32)
    theirs = tf.nn.weighted_cross_entropy_with_logits(SETS, LOGITS, weights)
    loss = losses.make_binary_loss(0.0, positive_weights=weights)
    np.testing.assert_allclose(
        loss(tf.constant(SETS), LOGITS), tf.reduce_mean(theirs, axis=1), rtol=1e-5
    )


@pytest.mark.parametrize("fields", [{}, {"focal_gamma": 2.0}])
def test_mixed_images_have_the_mixture_of_both_weighted_binary_losses(fields):
    loss = losses.make_binary_loss(0.1, positive_weights=WEIGHTS, **fields)
    scale = np.array([0, 1, 2, 0.5, 3, 1], np.float32)[:, np.newaxis]
    rows = np.concatenate([SETS * scale, scale], axis=1)  # with a column of weights
    plain = loss(tf.constant(SETS), LOGITS) * scale[:, 0]
    np.testing.assert_allclose(loss(tf.constant(rows), LOGITS), plain, rtol=1e-5)
    mixed = 0.7 * rows + 0.3 * rows[::-1]
    other = loss(tf.constant(SETS[::-1].copy()), LOGITS) * scale[::-1, 0]
    np.testing.assert_allclose(
        loss(tf.constant(mixed), LOGITS), 0.7 * plain + 0.3 * other, rtol=1e-5
    )
