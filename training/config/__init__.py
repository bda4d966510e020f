"""Training configuration: its fields, their checks, recipes and flags."""

from .recipes import RECIPES, load, recipe_files
from .train_config import ANY_SCALING, TrainConfig, check_field

__all__ = [
    "ANY_SCALING",
    "RECIPES",
    "TrainConfig",
    "check_field",
    "load",
    "recipe_files",
]
