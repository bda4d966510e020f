"""Cost of networks: parameters, multiply-adds, activation memory and latency."""

from .budget import BudgetFit, fit_budget
from .model_cost import (
    Cost,
    LayerCost,
    Shape,
    is_model,
    layer_calls,
    profile,
    single_input,
)
from .planning import plan_cost

__all__ = [
    "BudgetFit",
    "Cost",
    "LayerCost",
    "Shape",
    "fit_budget",
    "is_model",
    "layer_calls",
    "plan_cost",
    "profile",
    "single_input",
]
