"""Cost of networks: parameters, multiply-adds, memory and latency."""

from .budget import BudgetFit, fit_budget
from .model_cost import (
    Cost,
    LayerCost,
    Shape,
    calls,
    is_model,
    profile,
    single_input,
)
from .planning import plan_cost

__all__ = [
    "BudgetFit",
    "Cost",
    "LayerCost",
    "Shape",
    "calls",
    "fit_budget",
    "is_model",
    "plan_cost",
    "profile",
    "single_input",
]
