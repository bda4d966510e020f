import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.training_runs import tiny_step
from training.engine import advprop

SEED = tf.constant([0, 1])


def test_attack_raises_the_loss_within_epsilon():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.uniform(0, 255, (2, 4, 4, 3)).astype(np.float32))
    slope = tf.constant(rng.choice([-1.0, 1.0], images.shape).astype(np.float32))
    found = advprop.attack(
        lambda x: tf.reduce_sum(slope * x), images, epsilon=3.0, steps=6, seed=SEED
    )
    # Six steps of 1 from anywhere within 3 reach the far corner of a linear loss.
    expected = np.clip(images + 3.0 * slope, 0, 255)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_attack_starts_at_random_and_moves_one_pixel_value_per_step():
    images = tf.fill((1, 2, 2, 3), 100.0)
    found = [
        advprop.attack(tf.reduce_sum, images, epsilon=4.0, steps=steps, seed=SEED)
        for steps in (0, 1)
    ]
    assert len(np.unique(found[0])) == 12
    assert np.abs(found[0] - 100).max() <= 4
    np.testing.assert_allclose(found[1], np.minimum(found[0] + 1, 104), rtol=1e-6)


def test_attack_changes_neither_statistics_nor_seeds():
    model = tiny_step.net()
    before = [v.numpy() for v in model.variables]
    images, _, _ = tiny_step.batch()
    advprop.attack(
        lambda x: tf.reduce_sum(model(x, training=True)),
        images,
        epsilon=1.0,
        steps=2,
        seed=SEED,
    )
    after = [v.numpy() for v in model.variables]
    assert tiny_step.largest_difference(before, after) == 0


@pytest.fixture(scope="module")
def attacked_state():
    state, take = tiny_step.make(adversarial_epsilon=4.0, adversarial_steps=2)
    images, labels, mask = tiny_step.batch()
    for _ in range(2):
        take(100.0 + images, labels, mask)
    return state


def test_adversarial_images_have_separate_batch_statistics(attacked_state):
    state = attacked_state
    kind = keras.layers.BatchNormalization
    mains = [la for la in state.model.layers if isinstance(la, kind)]
    assert len(mains) == len(state.auxiliary) == 2
    for main in mains:
        other = state.auxiliary[id(main)]
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            a, b = getattr(main, name).numpy(), getattr(other, name).numpy()
            assert not np.array_equal(a, b), name


def test_auxiliary_weights_are_trained_and_saved_outside_the_model(attacked_state):
    state = attacked_state
    auxiliary = [v for la in state.auxiliary.values() for v in la.variables]
    inside = {id(v) for v in state.model.variables}
    assert len(auxiliary) == 8
    assert not [v for v in auxiliary if id(v) in inside]
    saved = state._variables()
    assert sum(name.startswith("auxiliary/") for name in saved) == 8


def test_gradient_sums_clean_and_adversarial_images():
    def shift(**fields):
        model = tiny_step.net(batch_norm=False, dropout=0)
        start = model.get_weights()
        _, take = tiny_step.make(model, **fields)
        images, labels, mask = tiny_step.batch(scale=10)
        take(100.0 + images, labels, mask)
        return [b - a for a, b in zip(start, model.get_weights(), strict=True)]

    # The two losses have nearly equal gradients, because epsilon is small.
    clean, both = shift(), shift(adversarial_epsilon=0.001)
    np.testing.assert_allclose(both[-1], 2 * clean[-1], rtol=1e-3, atol=1e-6)


def test_auxiliary_layers_freeze_with_their_main_ones():
    model = tiny_step.net()
    auxiliary = advprop.auxiliary_batch_norms(model)
    main = model.get_layer("block1a_project_bn")
    main.trainable = False
    advprop.sync_trainable(model, auxiliary)
    other = model.get_layer("block2a_project_bn")
    assert not auxiliary[id(main)].trainable
    assert auxiliary[id(other)].trainable
