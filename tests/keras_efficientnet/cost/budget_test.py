import pytest

from keras_efficientnet import VARIANTS, compound, fit_budget, plan_cost
from keras_efficientnet.architecture import Variant
from keras_efficientnet.cost import tflite_latency as timing


def _cost(size):
    return plan_cost(Variant(size.width, size.depth, size.image_size(), 0.2))


def test_fit_budget_finds_the_last_phi_within_multiply_adds():
    fit = fit_budget(flops=1e9)
    costs = {}
    for step in range(0, 300):
        size = compound(step / 100)
        costs[step / 100] = _cost(size).multiply_adds
    within = [phi for phi, cost in costs.items() if cost <= 1e9]
    assert fit.phi == max(within)
    assert fit.cost.multiply_adds == costs[fit.phi] <= 1e9
    assert fit.scaling == compound(fit.phi)
    assert fit.resolution == fit.scaling.image_size()


def test_fit_budget_for_the_cost_of_b0_is_b0():
    b0 = plan_cost(VARIANTS["EfficientNetB0"])
    fit = fit_budget(flops=b0.multiply_adds, params=b0.trainable_params)
    assert fit.phi == 0
    assert fit.cost.trainable_params == 5_288_548  # source: tensorflow/tpu


def test_fit_budget_meets_both_budgets():
    by_params = fit_budget(params=3e6)
    both = fit_budget(flops=5e9, params=3e6)
    assert both == by_params
    assert both.cost.trainable_params <= 3e6


@pytest.mark.parametrize(
    ("family", "key"), [("v2", "EfficientNetV2B0"), ("edgetpu", "EfficientNetEdgeTPUS")]
)
def test_fit_budget_scales_the_later_families(family, key):
    base = plan_cost(VARIANTS[key])
    budget = {"flops": base.multiply_adds, "params": base.trainable_params}
    assert fit_budget(**budget, family=family).phi == 0
    half = fit_budget(flops=base.multiply_adds / 2, family=family)
    assert half.phi < 0
    assert 0.3 * base.multiply_adds < half.cost.multiply_adds < base.multiply_adds / 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flops": 1e9, "family": "v3"}, "`family` must be one of .*'v2'.*family='v3'"),
        ({"flops": 1e9, "lite": True, "family": "v2"}, "lite=True, family='v2'"),
        ({}, "`flops`, `params` or `latency_ms` must be given"),
        ({"latency_ms": 0}, "`latency_ms` must be a finite number above 0"),
        ({"flops": -1}, "`flops` must be a finite number above 0. Received: flops=-1"),
        ({"flops": 1e5}, r"must fit the budget. Received: flops=100000.0"),
        ({"params": 1e6, "gamma": 0.9}, "`gamma` must be .* Received: gamma=0.9"),
    ],
)
def test_fit_budget_rejects_invalid_budgets(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_budget(**arguments)


@pytest.fixture
def proportional(monkeypatch):
    """A machine that takes 10 ms per 100 M multiply-adds; lists the measurements."""
    asked = []

    def measure(variant, classes=1000):
        ms = plan_cost(variant, classes).multiply_adds / 1e7
        asked.append(ms)
        return ms

    monkeypatch.setattr(timing, "tflite_latency", measure)
    return asked


@pytest.mark.parametrize("limit_ms", [2.0, 38.6, 100.0, 900.0])
def test_fit_budget_by_latency(proportional, limit_ms):
    fit = fit_budget(latency_ms=limit_ms)
    assert fit.latency_ms == fit.cost.multiply_adds / 1e7 <= limit_ms
    assert fit.latency_ms > 0.8 * limit_ms  # the next 0.1 of phi costs 7% more
    b0 = 39  # ms, the first measurement
    assert max(proportional) < max(
        2.6 * limit_ms, b0
    )  # no measurement far beyond the budget
    assert len(set(proportional)) <= 12


def test_fit_budget_meets_all_budgets(proportional):
    assert fit_budget(flops=1e9, latency_ms=1e4).phi == fit_budget(flops=1e9).phi
    both = fit_budget(flops=1e9, latency_ms=50)
    assert both.latency_ms <= 50
    assert both.cost.multiply_adds <= 1e9


def test_fit_budget_rejects_a_latency_below_the_smallest_network(proportional):
    with pytest.raises(
        ValueError, match="must fit the budget. Received: latency_ms=0.01"
    ):
        fit_budget(latency_ms=0.01)
