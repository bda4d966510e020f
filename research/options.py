"""Options of a study: dataclass fields that become command-line flags."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

_ITEM = {tuple[str, ...]: str, tuple[int, ...]: int, tuple[float, ...]: float}


def option(default: Any, about: str, *, is_setting: bool = True) -> Any:
    """Creates a field of an options dataclass.

    Args:
        default: Default value: a str, int, float or bool, or a tuple of these.
        about: Description for `--help`.
        is_setting: Whether results depend on it. A folder holds the results of one
            set of settings; other options may change when a study is resumed.
    """
    return dataclasses.field(
        default=default, metadata={"about": about, "is_setting": is_setting}
    )


def settings(options: Any) -> dict[str, Any]:
    """Returns the options that results depend on: name -> value."""
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if field.metadata["is_setting"]
    }


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describes the settings that differ, or returns "" if none does.

    Args:
        old: Earlier settings by name, as read from JSON.
        new: New settings by name.
    """
    new = json.loads(json.dumps(new))
    return "; ".join(
        f"{name}: {old.get(name)!r} -> {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def define_flags(kind: type, values: flags.FlagValues) -> None:
    """Defines a flag for each option.

    Args:
        kind: Options class of a study.
        values: Flag values to define the flags in.
    """
    define: dict[Any, Callable[..., Any]] = {
        str: flags.DEFINE_string,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
    }
    types = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        make = define.get(types[field.name], flags.DEFINE_list)
        default = field.default
        if isinstance(default, tuple):
            default = [str(item) for item in default]
        make(field.name, default, field.metadata["about"], flag_values=values)


def read_flags(kind: type, values: flags.FlagValues) -> Any:
    """Returns the options that the flags specify.

    Args:
        kind: Options class of a study.
        values: Parsed flags.

    Raises:
        ValueError: A list contains something other than numbers.
    """
    types = typing.get_type_hints(kind)
    return kind(
        **{name: _read(name, types[name], values[name].value) for name in types}
    )


def _read(name: str, kind: Any, value: Any) -> Any:
    if kind not in _ITEM:
        return value
    try:
        return tuple(_ITEM[kind](item) for item in value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a list like 1,2,3. Received: {name}={','.join(value)}"
        ) from error
