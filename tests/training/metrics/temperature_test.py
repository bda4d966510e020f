import math

import numpy as np
import pytest
from scipy import optimize, special

from training.metrics import temperature
from training.metrics.temperature import fit_class_temperatures, fit_temperature


def drawn(true_temperature, images=20_000, classes=7, seed=0):
    """Returns logits, and labels drawn from softmax(logits / true_temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (images, classes)).astype(np.float32)
    p = special.softmax(logits.astype(np.float64) / true_temperature, axis=1)
    labels = (p.cumsum(axis=1) > rng.uniform(size=(images, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
def test_recovers_a_known_temperature(true_temperature):
    found = fit_temperature(*drawn(true_temperature))
    assert found == pytest.approx(true_temperature, rel=0.03)


def test_matches_an_independent_minimiser():
    logits, labels = drawn(1.7)

    def loss(value):
        log_p = special.log_softmax(logits.astype(np.float64) / value, axis=1)
        return -log_p[np.arange(len(labels)), labels].mean()

    wanted = optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded").x
    # The prior of one image among 20,000 changes little.
    assert fit_temperature(logits, labels) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(("right", "images"), [(89, 99), (19, 19), (60, 99)])
def test_two_classes_match_the_closed_form(right, images):
    # All logits are (0, 3); the prior adds half an image to each class.
    logits = np.tile([0.0, 3.0], (images, 1))
    labels = (np.arange(images) < right).astype(int)
    share = (right + 0.5) / (images + 1)
    wanted = 3 / math.log(share / (1 - share))
    assert fit_temperature(logits, labels) == pytest.approx(wanted, rel=1e-9)


def test_random_answers_get_the_highest_temperature():
    logits = np.tile([0.0, 3.0], (50, 1))
    assert fit_temperature(logits, np.zeros(50, int)) == temperature.HIGHEST


def test_chunks_do_not_change_the_result(monkeypatch):
    logits, labels = drawn(1.3, images=500)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr(temperature, "_ENTRIES", 70)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-12)


def test_each_sigmoid_gets_its_own_temperature():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (20_000, 3))
    wanted = np.array([0.5, 1.0, 3.0])
    targets = rng.uniform(size=logits.shape) < special.expit(logits / wanted)
    np.testing.assert_allclose(
        fit_class_temperatures(logits, targets), wanted, rtol=0.1
    )


@pytest.mark.parametrize(
    ("logits", "labels", "match"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one"),
        (np.zeros((3, 2)), np.zeros(2, int), r"labels \(2,\)"),
        (np.array([[0.0, np.nan]]), np.zeros(1, int), "must be finite"),
        (np.zeros((2, 2)), np.array([0, 2]), "under 2. Received: 0 to 2"),
    ],
)
def test_rejects_invalid_logits_and_labels(logits, labels, match):
    with pytest.raises(ValueError, match=match):
        fit_temperature(logits, labels)
