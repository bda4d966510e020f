import numpy as np
import pytest
import tensorflow as tf

from training.augment import mixup

BATCH, SIZE = 6, 16


def numbered(batch=BATCH, size=SIZE):
    """Makes images filled with their position, each of its own class."""
    values = np.arange(batch, dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(values, (batch, size, size, 3))
    return tf.constant(images), tf.eye(batch)


def in_data(function, seeds):
    """Mixes the numbered batch once per seed."""
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


def test_with_both_each_batch_is_mixed_by_one_of_them():
    mixed = in_data(mixup.make_mix(0.4, 1.0), range(60))
    # CutMix keeps whole numbers, MixUp almost never does.
    kinds = [np.all(images == np.round(images)) for images, _ in mixed]
    assert 15 <= sum(kinds) <= 45


def test_result_depends_on_the_seed_alone():
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


def test_makes_nothing_when_both_are_off():
    assert mixup.make_mix(0.0, 0.0) is None


@pytest.mark.parametrize("name", ["mixup_alpha", "cutmix_alpha"])
def test_rejects_a_negative_alpha(name):
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, name: -0.1}
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}=-0.1"):
        mixup.make_mix(**alphas)


def test_half_and_half_mixes_up_the_first_half_and_cut_mixes_the_second():
    half = BATCH // 2
    function = mixup.make_mix(0.4, 1.0, "half_and_half")
    for mixed, labels in in_data(function, range(20)):
        # Images are mixed with the mirror of their own half.
        partners = [half - 1 - i for i in range(half)]
        partners += [BATCH - 1 - i for i in range(half)]
        for i, partner in enumerate(partners):
            assert labels[i].sum() == pytest.approx(1, abs=1e-6)
            assert labels[i, i] + labels[i, partner] * (i != partner) == pytest.approx(
                1
            )
            if i < half:
                assert labels[i, i] >= 0.5
                expected = labels[i, i] * i + labels[i, partner] * partner * (
                    i != partner
                )
                np.testing.assert_allclose(mixed[i], expected, atol=1e-5)
            else:
                assert set(np.unique(mixed[i])) <= {i, partner}


@pytest.mark.parametrize("batch", [1, 5])
def test_half_and_half_takes_odd_batches(batch):
    images, targets = numbered(batch)
    function = mixup.make_mix(0.4, 1.0, "half_and_half")
    mixed, labels = function(images, targets, tf.constant([7, 2]))
    assert mixed.shape == images.shape
    np.testing.assert_allclose(np.sum(labels, axis=1), 1, rtol=1e-6)
