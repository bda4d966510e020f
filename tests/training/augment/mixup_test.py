import numpy as np
import pytest
import tensorflow as tf

from training.augment import mixup

BATCH, SIZE = 6, 16


def numbered(batch=BATCH, size=SIZE):
    """Images filled with their position, and one class per image."""
    values = np.arange(batch, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(values, (batch, size, size, 3))
    return tf.constant(images), tf.eye(batch)


def in_data(function, seeds):
    """What the numbered batch becomes, once per seed."""
    images, targets = numbered()
    seeds = np.array([(7, seed) for seed in seeds], np.int32)
    data = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: function(images, targets, seed)
    )
    return list(data.as_numpy_iterator())


def test_mixup_mixes_images_and_targets_with_the_reversed_batch():
    weights = set()
    for mixed, labels in in_data(mixup.make_mix(0.4, 0.0), range(20)):
        for i in range(BATCH):
            weight = labels[i, i]
            assert 0.5 <= weight <= 1
            partner = BATCH - 1 - i
            assert labels[i, partner] == pytest.approx(1 - weight, abs=1e-6)
            expected = weight * i + (1 - weight) * partner
            np.testing.assert_allclose(mixed[i], expected, atol=1e-5)
            weights.add(float(weight))
    assert len(weights) == 20 * BATCH  # each image has its own


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_weights_are_beta_distributed(alpha):
    """Golden: mean 1/2, variance 1 / (4 (2 alpha + 1)); the quartiles of NumPy's."""
    drawn = mixup.beta(20_000, tf.constant([1, 2]), alpha).numpy()
    theirs = np.random.default_rng(0).beta(alpha, alpha, 20_000)
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
    shares = [0.1, 0.25, 0.75, 0.9]
    np.testing.assert_allclose(
        np.quantile(drawn, shares), np.quantile(theirs, shares), atol=0.02
    )


def test_weights_of_a_tiny_alpha_are_ends():
    drawn = mixup.beta(2000, tf.constant([1, 2]), 1e-3).numpy()
    assert np.all((drawn >= 0) & (drawn <= 1))
    assert np.mean((drawn < 0.01) | (drawn > 0.99)) > 0.97
    assert 0.45 < drawn.mean() < 0.55


def test_cutmix_weighs_targets_by_the_area_pasted():
    shares = []
    for mixed, labels in in_data(mixup.make_mix(0.0, 1.0), range(20)):
        for i in range(BATCH):
            pasted = mixed[i, ..., 0] == BATCH - 1 - i
            assert np.all(pasted | (mixed[i, ..., 0] == i))
            assert labels[i, BATCH - 1 - i] == pytest.approx(pasted.mean(), abs=1e-6)
            assert labels[i, i] == pytest.approx(1 - pasted.mean(), abs=1e-6)
            rows, columns = pasted.any(1), pasted.any(0)
            np.testing.assert_array_equal(pasted, np.outer(rows, columns))
            assert np.abs(np.diff(rows.astype(int))).sum() <= 2  # in one piece
            shares.append(pasted.mean())
    assert len(set(shares)) > 30


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
    _, labels = mixup.cutmix(images, targets, tf.constant([3, 4]), 1.0)
    ours = np.abs(labels.numpy()[:, 0] - targets.numpy()[:, 0])
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    np.testing.assert_allclose(
        np.quantile(ours, shares), np.quantile(golden, shares), atol=0.03
    )


def test_with_both_each_batch_takes_one():
    mixed = in_data(mixup.make_mix(0.4, 1.0), range(60))
    # CutMix keeps whole numbers, MixUp hardly ever.
    kinds = [np.all(images == np.round(images)) for images, _ in mixed]
    assert 15 <= sum(kinds) <= 45


def test_the_seed_alone_decides():
    images, targets = numbered()
    for function in (
        mixup.make_mix(0.4, 0.0),
        mixup.make_mix(0.0, 1.0),
        mixup.make_mix(0.4, 1.0),
    ):
        first, other, again = in_data(function, (2, 3, 2))
        eager = function(images, targets, tf.constant([7, 2]))
        for i in range(2):
            np.testing.assert_allclose(first[i], eager[i], atol=1e-6)
            np.testing.assert_array_equal(first[i], again[i])
        assert not np.array_equal(first[1], other[1])


def test_nothing_to_mix():
    assert mixup.make_mix(0.0, 0.0) is None


@pytest.mark.parametrize("name", ["mixup_alpha", "cutmix_alpha"])
def test_make_rejects(name):
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, name: -0.1}
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}=-0.1"):
        mixup.make_mix(**alphas)
