"""Baseline stage tables."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

STEM_FILTERS = 32
HEAD_FILTERS = 1280
SE_RATIO = 0.25  # of the channels that enter the block, before expansion
MOST_STAGES = 7  # highest stage number in layer names, freezing and remat
KINDS = ("mbconv", "fused")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check(ok: bool, rule: str, name: str, value: Any) -> None:
    if not ok:
        raise ValueError(
            f"`{name}` of a stage must be {rule}. Received: {name}={value!r}"
        )


@dataclasses.dataclass(frozen=True)
class Stage:
    """One row of Table 1, arXiv:1905.11946.

    Raises:
        ValueError: A field is out of its range.
    """

    repeats: int
    kernel: int  # pixels, square, odd
    stride: int  # of the first block, 1 or 2; the others use 1
    expand: int  # expanded channels / input channels
    filters: int  # output channels before width scaling
    se_ratio: float = SE_RATIO  # 0: no squeeze-excite
    skip: bool = True  # whether blocks that keep their shape add their input
    kind: str = "mbconv"  # "fused": one convolution in place of 1x1 and depthwise
    nominal_input: int = 0  # channels the first block expands, unscaled; 0: its input

    def __post_init__(self) -> None:
        for name in ("repeats", "kernel", "expand", "filters"):
            value = getattr(self, name)
            _check(_is_count(value), "an integer of at least 1", name, value)
        _check(self.kernel % 2 == 1, "odd", "kernel", self.kernel)
        _check(
            _is_count(self.stride) and self.stride <= 2, "1 or 2", "stride", self.stride
        )
        is_ratio = _is_number(self.se_ratio) and 0 <= self.se_ratio <= 1
        _check(is_ratio, "0 to 1", "se_ratio", self.se_ratio)
        _check(isinstance(self.skip, bool), "true or false", "skip", self.skip)
        kinds = " or ".join(map(repr, KINDS))
        _check(self.kind in KINDS, kinds, "kind", self.kind)
        nominal = self.nominal_input
        is_channels = nominal == 0 or _is_count(nominal)
        _check(is_channels, "an integer of at least 0", "nominal_input", nominal)


# Source: arXiv:1905.11946, Table 1, stages 2 to 8.
STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, filters=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, filters=24),
    Stage(repeats=2, kernel=5, stride=2, expand=6, filters=40),
    Stage(repeats=3, kernel=3, stride=2, expand=6, filters=80),
    Stage(repeats=3, kernel=5, stride=1, expand=6, filters=112),
    Stage(repeats=4, kernel=5, stride=2, expand=6, filters=192),
    Stage(repeats=1, kernel=3, stride=1, expand=6, filters=320),
)


def check_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Returns a stage table as a tuple.

    Args:
        stages: Rows, input to output.

    Raises:
        ValueError: There are none, or more than 7.
        TypeError: A row is not a `Stage`.
    """
    table = tuple(stages)
    if not 1 <= len(table) <= MOST_STAGES:
        raise ValueError(
            f"`stages` must have 1 to {MOST_STAGES} rows, one per stage. "
            f"Received: {len(table)} rows"
        )
    for row in table:
        if not isinstance(row, Stage):
            raise TypeError(
                f"`stages` must be rows of `Stage`; `read_stages` reads JSON. "
                f"Received: {row!r}"
            )
    return table


def smallest_image(stages: Sequence[Stage]) -> int:
    """Returns the smallest image side, pixels: the network halves it down to 1.

    Args:
        stages: Rows; the stem before them halves the image once.

    Example:
        >>> smallest_image(STAGES)
        32
    """
    return int(2 ** (1 + sum(stage.stride == 2 for stage in stages)))


def format_stages(stages: Sequence[Stage]) -> str:
    """Writes a stage table as JSON text, one row per line.

    Args:
        stages: Rows, input to output.
    """
    rows = ",\n ".join(json.dumps(_fields(stage)) for stage in stages)
    return f"[{rows}]\n"


def _fields(stage: Stage) -> dict[str, Any]:
    fields = dataclasses.asdict(stage)
    # Left out at their defaults, so that the JSON of MBConv stages stays the same.
    if stage.kind == "mbconv":
        del fields["kind"]
    if not stage.nominal_input:
        del fields["nominal_input"]
    return fields


def read_stages(source: str | os.PathLike[str]) -> tuple[Stage, ...]:
    """Reads a stage table that `format_stages` wrote.

    Args:
        source: JSON text, or path of a JSON file. Fields after `filters` may be left
            out.

    Raises:
        ValueError: `source` is not a stage table; the message says why.

    Example:
        >>> read_stages(format_stages(STAGES)) == STAGES
        True
    """
    text = str(source)
    if not text.lstrip().startswith("["):
        path = pathlib.Path(text).expanduser()
        if not path.is_file():
            raise ValueError(
                "`stages` must be JSON text or the path of a file. "
                f"Received: stages={text!r}"
            )
        text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text)
        table = tuple(Stage(**row) for row in rows)
    except (json.JSONDecodeError, TypeError) as error:
        fields = ", ".join(field.name for field in dataclasses.fields(Stage))
        raise ValueError(
            f"`stages` must be a JSON list of objects with the keys {fields}, "
            f"but {error}. Received: {text[:80]!r}"
        ) from error
    return check_stages(table)
