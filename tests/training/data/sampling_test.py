import numpy as np
import pytest
import tensorflow as tf

from training.data import sampling

LABELS = np.array([0] * 90 + [1] * 10 + [2] * 20, np.int32)
NAMES = ("a", "b", "c")


def draw(name, seed):
    sampler = sampling.make_sampler(name, LABELS, NAMES)
    return sampler(tf.constant([seed, 1])).numpy()


def test_balanced_epochs_have_equal_shares_of_the_classes():
    for seed in range(5):
        positions = draw("balanced", seed)
        assert len(positions) == len(LABELS)
        assert np.bincount(LABELS[positions]).tolist() == [40, 40, 40]
        copies = np.bincount(positions, minlength=len(LABELS))
        assert set(copies[LABELS == 0]) == {0, 1}  # 40 of 90 images
        assert set(copies[LABELS == 1]) == {4}
        assert set(copies[LABELS == 2]) == {2}


def test_sqrt_epochs_round_the_shares_up_or_down():
    # Source: hand arithmetic; 120 * sqrt(n) / (sqrt(90) + sqrt(10) + sqrt(20)).
    expected = np.sqrt([90, 10, 20])
    expected *= 120 / expected.sum()
    for seed in range(5):
        found = np.bincount(LABELS[draw("sqrt", seed)])
        assert (np.abs(found - expected) <= 1).all()


def test_all_images_are_drawn_over_many_epochs():
    copies = sum(
        np.bincount(draw("balanced", seed), minlength=len(LABELS)) for seed in range(40)
    )
    assert copies[LABELS == 0].min() >= 7  # 17.8 on average
    assert copies[LABELS == 0].max() <= 29


def test_order_depends_on_the_seed_only():
    np.testing.assert_array_equal(draw("sqrt", 3), draw("sqrt", 3))
    first, second = draw("balanced", 3), draw("balanced", 4)
    assert first.tolist() != second.tolist()
    labels = LABELS[first]
    assert 0 < np.mean(labels[:60] == 1) < 0.9  # shuffled, not class by class


def test_equal_classes_without_sampling_need_no_sampler():
    assert sampling.make_sampler(None, LABELS, NAMES) is None


def test_rejects_classes_without_images():
    with pytest.raises(ValueError, match="Received: none of d"):
        sampling.make_sampler("balanced", LABELS, (*NAMES, "d"))
