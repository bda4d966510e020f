import numpy as np
import pytest

from benchmarks.studies import imbalance
from training import config
from training.data import sources


def balanced_source():
    labels = np.repeat(np.arange(3), 100)
    part = (np.zeros((300, 2, 2, 3), np.uint8), labels)
    return sources.arrays({"train": part, "validation": part}, ["a", "b", "c"])


def test_training_images_fall_exponentially():
    found = imbalance.long_tailed(balanced_source(), 100, 100, seed=0)
    assert np.bincount(found.split("train").labels).tolist() == [100, 10, 1]
    assert np.bincount(found.split("validation").labels).tolist() == [100, 100, 100]


def test_rejects_more_images_than_a_class_has():
    with pytest.raises(
        ValueError, match="at most 100, the number of images of a class"
    ):
        imbalance.long_tailed(balanced_source(), 101, 100, seed=0)


def test_gain_is_that_of_the_best_mean_over_plain_training():
    found = {"plain": [0.5, 0.7], "focal": [0.4, 0.6], "logit_adjustment": [0.7, 0.8]}
    assert imbalance.best_gain(found) == pytest.approx(0.15)
    assert imbalance.best_gain({"plain": [0.5]}) == 0
    row = "| logit_adjustment | 75.00% | 70.00%, 80.00% |"
    assert row in imbalance.describe(found)


@pytest.mark.parametrize("method", imbalance.METHODS)
def test_methods_are_valid_configurations(method):
    run = config.load("digits")
    for name, value in imbalance.METHODS[method].items():
        setattr(run, name, value)
    run.validate()
