"""Search for the largest network within a compute, size or latency budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from ..architecture import Variant, checked_family, scaled_variant
from ..networks.families import FAMILIES
from ..scaling import Scaling, check_positive, compound
from .model_cost import Cost
from .planning import plan_cost

_TIMING_STRIDE = 100  # steps of 0.01, over which the cost doubles
_TIMING_STEP = 10
_ROUNDING_REACH = 50  # steps of 0.01, over which multiply-adds grow by over a third
_STEP_LIMIT = 2000  # bounds the search where a coefficient of 1 does not


@dataclasses.dataclass(frozen=True)
class BudgetFit:
    """Result of `fit_budget`.

    Attributes:
        phi: Compound coefficient, a multiple of 0.01.
        scaling: Depth, width and resolution ratios that `phi` stands for.
        resolution: Image side, pixels.
        cost: Parameters, multiply-adds and activation memory.
        latency_ms: Latency of one image on one TFLite thread, float32; None unless a
            latency budget was passed.
    """

    phi: float
    scaling: Scaling
    resolution: int
    cost: Cost
    latency_ms: float | None = None


def fit_budget(
    flops: float | None = None,
    params: float | None = None,
    *,
    alpha: float = 1.2,
    beta: float = 1.1,
    gamma: float = 1.15,
    classes: int = 1000,
    lite: bool = False,
    latency_ms: float | None = None,
    family: str = "v1",
) -> BudgetFit:
    """Finds the largest `phi` whose network fits a budget.

    Costs are computed analytically; only `latency_ms` requires building networks. Use
    `from_phi(fit.phi)` to build the result, with the same `lite` or `family`.

    Args:
        flops: Maximum number of multiply-adds for one image.
        params: Maximum number of trainable parameters.
        alpha: Depth ratio of one step of `phi`.
        beta: Width ratio of one step of `phi`.
        gamma: Resolution ratio of one step of `phi`.
        classes: Number of classes of the classifier.
        lite: Whether to fit a Lite network; the same as `family="lite"`.
        latency_ms: Maximum latency of one image on one TFLite thread in float32,
            measured on this machine as CPU time of the thread, milliseconds. About
            seven networks are built, converted and timed, the largest up to twice as
            slow as the budget; measurements are cached. `phi` is then found to 0.1,
            because timing is not more precise than that.
        family: Family to scale, "v1", "lite", "v2" or "edgetpu". The last two start
            from V2-B0 and EdgeTPU-S.

    Returns:
        The coefficient, to 0.01, with its scaling and cost. The network meets all given
        budgets. Because of rounding, costs grow in steps and occasionally drop by one,
        so a slightly larger network may meet one of several budgets; the result is the
        largest that meets all of them.

    Raises:
        ValueError: No budget is given, a budget is not above 0, or no network for
            images of at least 32 pixels fits.
        ImportError: `latency_ms` is given, and TensorFlow or LiteRT is not installed.

    Source:
        arXiv:1905.11946, section 3.3, equation 2 (maximisation under a budget).
    """
    limits = {"flops": flops, "params": params}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if not given and latency_ms is None:
        raise ValueError(
            "`flops`, `params` or `latency_ms` must be given. Received: flops=None, "
            "params=None, latency_ms=None"
        )
    for name, limit in [*given.items(), ("latency_ms", latency_ms)]:
        if limit is not None:
            check_positive(name, limit)
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not (math.isfinite(value) and value >= 1):
            raise ValueError(
                f"`{name}` must be a finite number of at least 1, so that cost grows "
                f"with `phi`. Received: {name}={value}"
            )

    family = checked_family(family, lite)

    def fit(step: int) -> BudgetFit:
        return _fit_of(step / 100, (alpha, beta, gamma), classes, family)

    def overrun(step: int) -> float:
        cost = fit(step).cost
        spent = {"flops": cost.multiply_adds, "params": cost.trainable_params}
        return max((spent[name] / limit for name, limit in given.items()), default=0)

    smallest, largest = _step_bounds(alpha, gamma, family)
    if overrun(smallest) > 1:
        least = fit(smallest).cost
        raise ValueError(
            f"A network of at least {least.multiply_adds:,} multiply-adds and "
            f"{least.trainable_params:,} parameters must fit the budget. "
            f"Received: flops={flops}, params={params}"
        )
    best = _largest_within(overrun, smallest, largest)
    if latency_ms is None:
        return fit(best)

    def is_quick(step: int) -> bool:
        return overrun(step) <= 1 and _time(fit(step), classes, family) <= latency_ms

    step = _gallop(is_quick, smallest, best)
    if step is None:
        least_ms = _time(fit(smallest), classes, family)
        raise ValueError(
            f"A network of at least {least_ms:.3g} ms must fit the budget. "
            f"Received: latency_ms={latency_ms}"
        )
    found = fit(step)
    return dataclasses.replace(found, latency_ms=_time(found, classes, family))


def _largest_within(
    overrun: Callable[[int], float], smallest: int, largest: int
) -> int:
    low, high = smallest, largest
    while high - low > 1:  # overrun(low) <= 1 < overrun(high), or high is the end
        middle = (low + high) // 2
        low, high = (middle, high) if overrun(middle) <= 1 else (low, middle)
    # Costs are not strictly monotonic: also try the larger steps within reach of one
    # rounding step.
    later = range(low + 1, min(low + _ROUNDING_REACH, largest) + 1)
    return max([low, *(step for step in later if overrun(step) <= 1)])


def _gallop(
    is_within: Callable[[int], bool], smallest: int, largest: int
) -> int | None:
    """Finds a large step within the budget without testing steps far beyond it.

    Each test is a measurement, which takes minutes for a much larger network, so the
    search advances from the base network by one `phi` at a time.
    """
    step = min(max(0, smallest), largest)
    low, high = None, None
    while low is None or high is None:
        if is_within(step):
            low = step
            if step == largest:
                return step
        else:
            high = step
            if step == smallest:
                return None
        away = _TIMING_STRIDE if low is not None else -_TIMING_STRIDE
        step = min(max(step + away, smallest), largest)
    while high - low > _TIMING_STEP:
        middle = (low + high) // 2 // _TIMING_STEP * _TIMING_STEP
        middle = middle if low < middle < high else (low + high) // 2
        low, high = (middle, high) if is_within(middle) else (low, middle)
    return low


def _time(fit: BudgetFit, classes: int, family: str) -> float:
    # Imported here because only timing needs TensorFlow.
    from .tflite_latency import tflite_latency

    return tflite_latency(_variant_of(fit.scaling, family), classes)


def _step_bounds(alpha: float, gamma: float, family: str) -> tuple[int, int]:
    # The bounds are 32 pixels and 26 blocks in the largest stage.
    most_repeats = max(stage.repeats for stage in FAMILIES[family].stages)
    smallest, largest = -_STEP_LIMIT, _STEP_LIMIT
    if gamma > 1:
        smallest = max(smallest, math.ceil(100 * math.log(32 / 224) / math.log(gamma)))
    if alpha > 1:
        deepest = math.log(26 / most_repeats) / math.log(alpha)
        largest = min(largest, math.floor(100 * deepest))
    return smallest, largest


def _fit_of(
    phi: float, coefficients: tuple[float, float, float], classes: int, family: str
) -> BudgetFit:
    scaling = compound(phi, *coefficients)
    cost = plan_cost(_variant_of(scaling, family), classes)
    return BudgetFit(phi, scaling, scaling.image_size(), cost)


def _variant_of(scaling: Scaling, family: str) -> Variant:
    return scaled_variant(
        family, scaling.width, scaling.depth, scaling.image_size(), dropout=0.2
    )
