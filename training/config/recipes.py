"""Recipes: Python files whose `get_config` returns a training configuration."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from typing import Any

from keras_efficientnet.common.choices import did_you_mean

from .train_config import TrainConfig

_TRAINING, _, _ = str(__package__).rpartition(".")
RECIPES = pathlib.Path(__file__).parent.parent / "configs"


def recipe_files() -> list[pathlib.Path]:
    """Lists the files of the recipes of this package."""
    return sorted(RECIPES.glob("[!_]*.py"))


def load(recipe: str) -> TrainConfig:
    """Runs a recipe's `get_config`.

    Args:
        recipe: "NAME[:ARG]" for a recipe of this package ("digits"), or
            "PATH.py[:ARG]" for any file. ARG is passed to `get_config`.

    Returns:
        The configuration, not validated: flags may still override it.

    Raises:
        ValueError: There is no such recipe.
        TypeError: `get_config` returns something else.
    """
    name, _, argument = recipe.partition(":")
    path = pathlib.Path(name) if name.endswith(".py") else RECIPES / f"{name}.py"
    if not path.is_file():
        names = [path.stem for path in recipe_files()]
        raise ValueError(
            "A recipe must be the path of a .py file or one of "
            f"{', '.join(names)}.{did_you_mean(name, names)} Received: {recipe!r}"
        )
    config = _run(path).get_config(*([argument] if argument else []))
    if not isinstance(config, TrainConfig):
        raise TypeError(
            f"`get_config` of {path} must return a TrainConfig. Received: {config!r}"
        )
    return dataclasses.replace(config, recipe=recipe)


def _run(path: pathlib.Path) -> Any:
    # Under this name `from ..config import TrainConfig` works in a recipe wherever
    # the file lies, and whether this package is `training` or is installed as
    # `keras_efficientnet.training`.
    name = f"{_TRAINING}.configs.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"A recipe must be a Python file. Received: {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
