"""Command-line flags of the training configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from absl import flags
from ml_collections import config_flags

from . import recipes
from .train_config import TrainConfig, check_field

_NONE = ("", "none")
_FIELD = re.compile(r"--?(no)?config\.(\w+)(?:=(.*))?", re.DOTALL)


def define(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """Defines `--config` and the `--config.FIELD` flags that a command line uses.

    An empty value or "none" sets an optional field to None, whatever its type.

    Args:
        values: Registry of the flags.
        argv: Command line, the program's name first.

    Returns:
        The command line to parse.

    Raises:
        ValueError: A field does not exist; the message names the nearest ones.
    """
    parsed, unset = _take_none(argv)

    def load(recipe: str) -> TrainConfig:
        loaded = recipes.load(recipe)
        for name in unset:
            setattr(loaded, name, None)
        return loaded

    default = TrainConfig()
    for name in unset:
        setattr(default, name, None)
    config_flags.DEFINE_config_dataclass(
        "config",
        default,
        "Recipe, NAME[:ARG] or FILE.py[:ARG]; its fields are set as "
        "--config.FIELD=VALUE.",
        flag_values=values,
        parse_fn=load,
        sys_argv=parsed,
    )
    return parsed


def _take_none(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the arguments to parse and the fields to unset.

    The last value of a field counts, as for every other flag.
    """
    overrides = list(_optional_overrides(argv))
    last = {name: value for name, value, _ in overrides}
    unset = [name for name, value in last.items() if value in _NONE]
    dropped = {
        place
        for name, value, places in overrides
        if value in _NONE or name in unset
        for place in places
    }
    return [arg for i, arg in enumerate(argv) if i not in dropped], unset


def _optional_overrides(argv: Sequence[str]) -> Iterator[tuple[str, str, range]]:
    """Yields name, lower-case value and positions of overrides of optional fields."""
    optional = _optional_fields()
    for i, argument in enumerate(argv):
        match = _FIELD.fullmatch(argument)
        if match is None:
            continue
        negated, name, value = match.groups()
        check_field(name)
        if name not in optional or negated:
            continue
        end = i + 1 if value is not None else i + 2
        if value is None and end <= len(argv):
            value = argv[i + 1]
        yield name, (value or "").strip().lower(), range(i, end)


def _optional_fields() -> set[str]:
    """Returns the names of the fields that may be None."""
    fields = dataclasses.fields(TrainConfig)
    return {f.name for f in fields if isinstance(None, f.type)}  # type: ignore[arg-type]
