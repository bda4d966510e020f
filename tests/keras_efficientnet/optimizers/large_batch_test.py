import keras
import numpy as np
import pytest
from keras import ops

from keras_efficientnet.optimizers import LAMB, LARS
from tests.support.optimizer_cases import RATES, StepRates, take_steps


def random_steps(steps=3):
    """A matrix, a bias and a matrix of zeros, which has no norm."""
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (4,), (2, 2)]
    draws = [
        [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        for _ in range(1 + steps)
    ]
    draws[0][2] *= 0
    return draws[0], draws[1:]


def test_lars_by_hand():
    # arXiv:1708.03888, algorithm 1, with the trust coefficient and the exceptions of
    # the original implementation.
    starts, gradients = random_steps()
    found = take_steps(LARS(StepRates(), weight_decay=0.1), starts, gradients)
    weights = [s.astype(np.float64) for s in starts]
    momentums = [np.zeros(w.shape) for w in weights]
    for step, (row, rate) in enumerate(zip(gradients, RATES, strict=False)):
        for i, g in enumerate(row):
            w, local = weights[i], rate
            if w.ndim > 1:
                size, slope = np.linalg.norm(w), np.linalg.norm(g)
                local *= 0.001 * size / (slope + 0.1 * size) if size else 1.0
                g = g + 0.1 * w
            momentums[i] = 0.9 * momentums[i] + local * g
            weights[i] = w - momentums[i]
            np.testing.assert_allclose(found[step][i], weights[i], rtol=1e-5)


def test_lamb_by_hand():
    # arXiv:1904.00962, algorithm 2.
    starts, gradients = random_steps()
    found = take_steps(LAMB(StepRates(), weight_decay=0.1), starts, gradients)
    weights = [s.astype(np.float64) for s in starts]
    means = [np.zeros(w.shape) for w in weights]
    squares = [np.zeros(w.shape) for w in weights]
    for t, (row, rate) in enumerate(zip(gradients, RATES, strict=False), start=1):
        for i, g in enumerate(row):
            means[i] = 0.9 * means[i] + 0.1 * g
            squares[i] = 0.999 * squares[i] + 0.001 * g.astype(np.float64) ** 2
            root = np.sqrt(squares[i] / (1 - 0.999**t)) + 1e-6
            update, ratio = means[i] / (1 - 0.9**t) / root, 1.0
            if weights[i].ndim > 1:
                update = update + 0.1 * weights[i]
                size, length = np.linalg.norm(weights[i]), np.linalg.norm(update)
                ratio = size / length if size else 1.0
            weights[i] = weights[i] - rate * ratio * update
            np.testing.assert_allclose(found[t - 1][i], weights[i], rtol=2e-5)


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_l2_joins_the_gradients_of_kernels_only(kind):
    rng = np.random.default_rng(1)
    starts = [rng.normal(size=s).astype(np.float32) for s in ((3, 2), (2,))]
    gradients = [rng.normal(size=w.shape).astype(np.float32) for w in starts]
    (found,) = take_steps(kind(0.1, l2=0.5), starts, [gradients])
    # Biases have no decay, so the bias gets the gradient alone.
    decayed = [gradients[0] + 0.5 * starts[0], gradients[1]]
    (expected,) = take_steps(kind(0.1), starts, [decayed])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_excluded_kernels_get_no_decay(kind):
    weights = [keras.Variable(np.ones((2, 2), np.float32)) for _ in range(2)]
    optimizer = kind(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=weights[1:])
    optimizer.apply([ops.zeros((2, 2)), ops.zeros((2, 2))], weights)
    first, second = (ops.convert_to_numpy(w) for w in weights)
    assert (first < 1.0).all()
    np.testing.assert_array_equal(second, np.ones((2, 2)))


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_rejects_negative_weight_decay(kind):
    message = "`weight_decay` must be finite and at least 0. Received: weight_decay=-1"
    with pytest.raises(ValueError, match=message):
        kind(0.1, weight_decay=-1.0)


def test_rejects_decay_rates_out_of_range():
    with pytest.raises(ValueError, match="`momentum` must be at least 0 and under 1"):
        LARS(0.1, momentum=1.0)
    with pytest.raises(ValueError, match="`beta_2` must be at least 0 and under 1"):
        LAMB(0.1, beta_2=2.0)
