"""Search space: a skeleton of stages, and the choices for each stage."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_efficientnet import Stage
from keras_efficientnet.baselines import MOBILENET_V2_STAGES

KERNELS = (3, 5)  # pixels, square
EXPANSIONS = (1, 3, 4, 6)
SE_RATIOS = (0.0, 0.25)
SKIPS = (True, False)
LAYERS_AROUND = 1  # largest difference from the skeleton
FILTERS_AROUND = 0.25  # largest relative difference from the skeleton
FILTERS_STEP = 8  # channels are multiples of this

# Source: arXiv:1807.11626, section 4.1.
SKELETONS = {"mobilenet_v2": MOBILENET_V2_STAGES}

# Field of a stage -> its choices.
Choices = dict[str, tuple[Any, ...]]


def choices(stage: Stage) -> Choices:
    """Returns the choices for a stage of the skeleton.

    Args:
        stage: Stage of the skeleton; its stride is fixed.

    Returns:
        Field of the stage -> allowed values, at least one each.

    Source:
        arXiv:1807.11626, section 4.1, with all multiples of 8 channels within a
        quarter, and MBConv as the only operation, as in every network found there.

    Example:
        >>> choices(SKELETONS["mobilenet_v2"][4])["filters"]
        (72, 80, 88, 96, 104, 112, 120)
    """
    fewest = max(1, stage.repeats - LAYERS_AROUND)
    least = max(1, math.ceil(stage.filters * (1 - FILTERS_AROUND) / FILTERS_STEP))
    most = max(least, int(stage.filters * (1 + FILTERS_AROUND) / FILTERS_STEP))
    return {
        "kernel": KERNELS,
        "expand": EXPANSIONS,
        "se_ratio": SE_RATIOS,
        "skip": SKIPS,
        "repeats": tuple(range(fewest, stage.repeats + LAYERS_AROUND + 1)),
        "filters": tuple(FILTERS_STEP * n for n in range(least, most + 1)),
    }


def count(skeleton: Sequence[Stage]) -> int:
    """Returns the number of stage tables in the space."""
    sizes = [len(values) for stage in skeleton for values in choices(stage).values()]
    return math.prod(sizes)


def encode(stages: Sequence[Stage], skeleton: Sequence[Stage]) -> dict[str, Any]:
    """Returns the parameters of a stage table.

    Args:
        stages: Stage table in the space.
        skeleton: Skeleton of the space.

    Returns:
        "stage1_kernel" and so on -> value.

    Raises:
        ValueError: The table is not in the space; the message names the stage.
    """
    if len(stages) != len(skeleton):
        raise ValueError(
            f"`stages` must have the skeleton's {len(skeleton)} rows. "
            f"Received: {len(stages)} rows"
        )
    found = {}
    for i, (stage, basis) in enumerate(zip(stages, skeleton, strict=True), start=1):
        allowed = choices(basis) | {"stride": (basis.stride,)}
        for field, values in allowed.items():
            value = getattr(stage, field)
            if value not in values:
                listed = ", ".join(map(str, values))
                raise ValueError(
                    f"`{field}` of stage {i} must be one of {listed}. "
                    f"Received: {field}={value}"
                )
            if field != "stride":
                found[f"stage{i}_{field}"] = value
    return found


def decode(
    parameters: Mapping[str, Any], skeleton: Sequence[Stage]
) -> tuple[Stage, ...]:
    """Returns the stage table for the given parameters.

    Args:
        parameters: Parameters as returned by `encode`.
        skeleton: Skeleton of the space.
    """
    return choose(lambda name, values: parameters[name], skeleton)


def choose(
    pick: Callable[[str, tuple[Any, ...]], Any], skeleton: Sequence[Stage]
) -> tuple[Stage, ...]:
    """Builds a stage table by choosing each parameter.

    Args:
        pick: Function from a parameter's name and values to one of the values.
        skeleton: Skeleton of the space.
    """
    return tuple(
        dataclasses.replace(
            basis,
            **{
                field: pick(f"stage{i}_{field}", values)
                for field, values in choices(basis).items()
            },
        )
        for i, basis in enumerate(skeleton, start=1)
    )
