import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.augmentation import CutMix, MixUp, mixing_ops

BATCH, SIZE = 6, 16


def images():
    return np.random.default_rng(0).uniform(0, 255, (BATCH, SIZE, SIZE, 3))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_are_beta_distributed(alpha):
    """Golden: mean 1/2, variance 1 / (4 (2 alpha + 1)); the quartiles of NumPy's."""
    drawn = mixing_ops.beta(20_000, tf.constant([1, 2]), alpha).numpy()
    theirs = np.random.default_rng(0).beta(alpha, alpha, 20_000)
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    shares = [0.1, 0.25, 0.75, 0.9]
    np.testing.assert_allclose(
        np.quantile(drawn, shares), np.quantile(theirs, shares), atol=0.02
    )


def test_weights_of_a_tiny_alpha_are_near_0_or_1():
    drawn = mixing_ops.beta(2000, tf.constant([1, 2]), 1e-3).numpy()
    assert np.all((drawn >= 0) & (drawn <= 1))
    assert np.mean((drawn < 0.01) | (drawn > 0.99)) > 0.97
    assert 0.45 < drawn.mean() < 0.55


def test_cutmix_areas_are_those_of_the_paper():
    """Golden: algorithm A1 of the paper in NumPy."""
    rng = np.random.default_rng(0)
    size, count = 32, 3000

    def paper():
        side = int(size * np.sqrt(1 - rng.beta(1, 1)))
        lengths = []
        for centre in rng.integers(0, size, 2):
            begin = np.clip(centre - side // 2, 0, size)
            lengths.append(np.clip(centre + side // 2, 0, size) - begin)
        return np.prod(lengths) / size**2

    golden = [paper() for _ in range(count)]
    images = tf.zeros((count, size, size, 1))
    # The first half has target 0, its partners 1: a target tells the area.
    targets = tf.cast(tf.range(count) >= count // 2, tf.float32)[:, None]
    _, labels = mixing_ops.cutmix(images, targets, tf.constant([3, 4]), 1.0)
    ours = np.abs(labels.numpy()[:, 0] - targets.numpy()[:, 0])
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    np.testing.assert_allclose(
        np.quantile(ours, shares), np.quantile(golden, shares), atol=0.03
    )


@pytest.mark.parametrize("kind", [MixUp, CutMix])
@pytest.mark.parametrize("labels", ["integers", "column", "rows"])
def test_accepts_integer_labels_and_rows(kind, labels):
    numbers = np.array([0, 2, 1, 1, 0, 2])
    forms = {
        "integers": numbers,
        "column": numbers[:, None].astype(np.uint8),
        "rows": np.eye(3)[numbers],
    }
    transform = kind(1.0, num_classes=3, seed=4)
    pixels = images()
    mixed, targets = transform(pixels, forms[labels], seed=(1, 2))
    golden, golden_targets = transform.mix_batch(
        tf.cast(pixels, tf.float32), tf.one_hot(numbers, 3), (1, 2)
    )
    np.testing.assert_array_equal(mixed, golden)
    np.testing.assert_array_equal(targets, golden_targets)
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, atol=1e-6)
    assert not np.allclose(mixed, pixels)


def test_mixes_uint8_batches_of_a_dataset():
    pixels = images().astype(np.uint8)
    data = tf.data.Dataset.from_tensor_slices((pixels, np.arange(BATCH))).batch(3)
    mixed = data.apply(MixUp(num_classes=BATCH, seed=1))
    assert mixed.cardinality() == 2
    (first, targets), _ = list(mixed.as_numpy_iterator())
    assert first.dtype == targets.dtype == np.float32
    # Golden: the definition, with the weights that the labels show.
    for i in range(3):
        weights = targets[i, :3]
        np.testing.assert_allclose(
            first[i], np.tensordot(weights, pixels[:3], 1), atol=1e-3
        )


@pytest.mark.parametrize(
    ("options", "labels", "message"),
    [
        ({}, np.zeros(BATCH, int), "needs `num_classes`.*num_classes=None"),
        ({"num_classes": 4}, np.zeros((BATCH, 3)), r"\(batch, 4\).*\(6, 3\)"),
        ({"num_classes": 4}, np.zeros(BATCH), "integer labels.*float64"),
    ],
)
def test_rejects_labels_it_cannot_mix(options, labels, message):
    with pytest.raises(ValueError, match=f"`CutMix` .*{message}"):
        CutMix(**options)(images(), labels)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
@pytest.mark.parametrize("first", [-1, 1])
def test_rejects_integer_labels_out_of_range(kind, first):
    """One-hot rows of zeros would train on nothing."""
    labels = np.arange(first, first + BATCH)
    transform = kind(num_classes=BATCH, seed=1)
    message = f"`{kind.__name__}` takes integer labels from 0 to 5"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        transform(images(), labels)
    data = tf.data.Dataset.from_tensor_slices((images(), labels)).batch(3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(data.apply(transform))


def test_rejects_single_images_and_sample_weights():
    with pytest.raises(ValueError, match=r"`MixUp` takes batches.*dataset.batch"):
        MixUp()(images()[0], np.ones(3))
    with pytest.raises(ValueError, match="images and labels.*Received: 3 arguments"):
        MixUp()(images(), np.eye(BATCH), np.ones(BATCH))
    with pytest.raises(ValueError, match="images and labels.*Received: 1 arguments"):
        MixUp()(images())


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_rejects_settings_out_of_range(kind):
    for alpha in (0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"`alpha` must .* alpha={alpha}"):
            kind(alpha)
    with pytest.raises(ValueError, match="`num_classes` .* Received: num_classes=0"):
        kind(num_classes=0)
    with pytest.raises(ValueError, match="`seed` must be 0 to .* Received: seed=-1"):
        kind(seed=-1)


def test_is_no_layer():
    with pytest.raises(TypeError, match="`MixUp` also mixes the labels.*dataset.apply"):
        MixUp().as_layer()
