import math

import pytest

from keras_efficientnet import scaling
from keras_efficientnet.architecture import VARIANTS
from keras_efficientnet.planning import plan_cost


def test_compound_doubles_multiply_adds_per_step():
    """Source: arXiv:1905.11946, equation 3: alpha * beta^2 * gamma^2 is about 2."""
    step = scaling.compound(1)
    growth = step.depth * step.width**2 * step.resolution**2
    assert growth == pytest.approx(2, rel=0.05)
    three = scaling.compound(3)
    assert three.depth == pytest.approx(1.2**3)
    assert three.width == pytest.approx(1.1**3)
    assert three.resolution == pytest.approx(1.15**3)


def test_compound_of_zero_is_the_base():
    assert scaling.compound(0) == scaling.Scaling(1.0, 1.0, 1.0)
    assert scaling.compound(0).image_size() == 224


@pytest.mark.parametrize(
    ("filters", "width", "rounded"),
    # Worked out by hand: nearest multiple of 8, at least 8, and up when that loses
    # more than 10% (19.2 -> 16 -> 24).
    [(32, 1.0, 32), (16, 1.2, 24), (32, 1.1, 32), (40, 1.1, 48), (16, 0.1, 8)],
)
def test_round_filters(filters, width, rounded):
    assert scaling.round_filters(filters, width) == rounded


def test_round_repeats_rounds_up():
    assert [scaling.round_repeats(4, d) for d in (0.2, 1.0, 1.01, 5.3)] == [1, 4, 5, 22]


def test_fit_budget_finds_the_last_phi_within_multiply_adds():
    fit = scaling.fit_budget(flops=1e9)
    costs = {}
    for step in range(0, 300):
        size = scaling.compound(step / 100)
        costs[step / 100] = _cost(size).multiply_adds
    within = [phi for phi, cost in costs.items() if cost <= 1e9]
    assert fit.phi == max(within)
    assert fit.cost.multiply_adds == costs[fit.phi] <= 1e9
    assert fit.scaling == scaling.compound(fit.phi)
    assert fit.resolution == fit.scaling.image_size()


def test_fit_budget_of_b0s_cost_is_b0():
    b0 = plan_cost(VARIANTS["EfficientNetB0"])
    fit = scaling.fit_budget(flops=b0.multiply_adds, params=b0.trainable_params)
    assert fit.phi == 0
    assert fit.cost.trainable_params == 5_288_548  # source: tensorflow/tpu


def test_fit_budget_meets_both_budgets():
    by_params = scaling.fit_budget(params=3e6)
    both = scaling.fit_budget(flops=5e9, params=3e6)
    assert both == by_params
    assert both.cost.trainable_params <= 3e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`flops`, `params` or `latency_ms` must be given"),
        ({"latency_ms": 0}, "`latency_ms` must be a finite number above 0"),
        ({"flops": -1}, "`flops` must be a finite number above 0. Received: flops=-1"),
        ({"flops": 1e5}, r"must fit the budget. Received: flops=100000.0"),
        ({"params": 1e6, "gamma": 0.9}, "`gamma` must be .* Received: gamma=0.9"),
    ],
)
def test_fit_budget_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        scaling.fit_budget(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.round_filters(32, 0), "above 0. Received: width=0"),
        (lambda: scaling.round_filters(0, 1), "above 0. Received: filters=0"),
        (lambda: scaling.round_repeats(1, -1), "above 0. Received: depth=-1"),
        (lambda: scaling.Scaling(width=math.nan), "above 0. Received: width=nan"),
        (lambda: scaling.compound(math.inf), "finite number. Received: phi=inf"),
        (lambda: scaling.compound(1, beta=0), "above 0. Received: beta=0"),
    ],
)
def test_scaling_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _cost(size):
    from keras_efficientnet.architecture import Variant

    return plan_cost(Variant(size.width, size.depth, size.image_size(), 0.2))
