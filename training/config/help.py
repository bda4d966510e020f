"""Descriptions of the recipes and config fields for `--help`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re

from keras_efficientnet.common.cli.help_text import entry

from . import checks, recipes
from .train_config import TrainConfig

_ATTRIBUTE = re.compile(r"^(\w+): (.+?)(?=^\w+: |\Z)", re.MULTILINE | re.DOTALL)

_RECIPES = "Recipes for --config=NAME[:ARG]; a file is --config=PATH.py[:ARG]:"
_FIELDS = "Config fields, which override those of the recipe; `none` sets None:"


def describe_recipes() -> str:
    """Lists the recipes of this package with one line each."""
    rows = {path.stem: _first_line(path.read_text()) for path in recipes.recipe_files()}
    return "\n".join([_RECIPES, *(entry(*row) for row in rows.items())])


def describe_fields() -> str:
    """Lists the config fields with their meaning and default."""
    meanings = field_meanings()
    rows = []
    for field in dataclasses.fields(TrainConfig):
        choices = checks.CHOICES.get(field.name)
        listed = f" Choices: {', '.join(choices)}." if choices else ""
        text = f"{meanings[field.name]}{listed} Default: {_shown(field.default)}."
        rows.append(entry(f"--config.{field.name}", text))
    return "\n".join([_FIELDS, *rows])


def field_meanings() -> dict[str, str]:
    """Returns the text of each field in the docstrings of `TrainConfig`'s bases."""
    meanings = {}
    for group in reversed(TrainConfig.__bases__):
        listed = inspect.cleandoc(group.__doc__ or "").partition("Attributes:\n")[2]
        for name, meaning in _ATTRIBUTE.findall(inspect.cleandoc(listed)):
            meanings[name] = " ".join(meaning.split()).replace("`", "")
    return meanings


def _first_line(source: str) -> str:
    # Parsed, not run: listing the recipes must not depend on what they import.
    return (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
