"""Compound scaling compared with scaling a single dimension."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from scipy import special

from keras_efficientnet.common.markdown import table

from .records import COMPOUND, SINGLE, Point


def describe(points: Mapping[str, Sequence[Point]]) -> list[str]:
    """Returns the report's comparisons at equal multiply-adds.

    Args:
        points: Name of a line, as returned by `study.series` -> its points.
    """
    grown = points[COMPOUND][1:]
    if not grown:
        return []
    return [
        "## Compound against one dimension\n\nLead of compound scaling over a single "
        "dimension at equal multiply-adds, in percentage points. The line of the "
        "single dimension is interpolated in the logarithm of the multiply-adds; a "
        "cell is empty where the line does not reach that far.\n\n"
        + table([_lead(point, points) for point in grown]),
        "Paired by seed, against the network of each dimension whose multiply-adds are "
        "nearest, with the 95% interval of Student's t test: a difference whose "
        "interval includes 0 may be chance.\n\n"
        + table([_paired(p, points[name], name) for p in grown for name in SINGLE]),
    ]


def half_interval(values: Sequence[float]) -> float | None:
    """Returns half the width of the 95% interval of a mean, or None for one value.

    Args:
        values: Independent values, taken as normally distributed. For a paired test,
            these are the differences.

    Example:
        >>> round(half_interval([0.1, 0.2, 0.3]), 4)  # 4.3027 * 0.1 / sqrt(3)
        0.2484
    """
    if len(values) < 2:
        return None
    quantile = float(special.stdtrit(len(values) - 1, 0.975))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def describe_interval(values: Sequence[float]) -> str:
    """Returns half the 95% interval in percentage points, or "" for one value."""
    half = half_interval(values)
    return "" if half is None else f"± {100 * half:.2f}"


def interpolate(line: Sequence[Point], multiply_adds: float) -> float | None:
    """Interpolates the top-1 of a line, or returns None outside its range.

    Args:
        line: Points in any order.
        multiply_adds: Cost to interpolate at.
    """
    ordered = sorted(line, key=lambda point: point.multiply_adds)
    for one, other in itertools.pairwise(ordered):
        if one.multiply_adds <= multiply_adds <= other.multiply_adds:
            low, high = math.log(one.multiply_adds), math.log(other.multiply_adds)
            share = (math.log(multiply_adds) - low) / (high - low) if high > low else 0
            return one.top1 + share * (other.top1 - one.top1)
    return None


def nearest_in_cost(line: Sequence[Point], multiply_adds: float) -> Point:
    """Returns the point of a line with the nearest multiply-adds, as a ratio."""
    return min(
        line, key=lambda point: abs(math.log(point.multiply_adds / multiply_adds))
    )


def _lead(point: Point, points: Mapping[str, Sequence[Point]]) -> dict[str, object]:
    cells: dict[str, object] = {
        "compound": point.label,
        "multiply-adds, M": f"{point.multiply_adds / 1e6:.2f}",
        "top-1, %": f"{100 * point.top1:.2f}",
    }
    for name in SINGLE:
        other = interpolate(points[name], point.multiply_adds)
        text = "" if other is None else f"{100 * (point.top1 - other):+.2f}"
        cells[f"over {name}"] = text
    return cells


def _paired(point: Point, line: Sequence[Point], name: str) -> dict[str, object]:
    other = nearest_in_cost(line, point.multiply_adds)
    pairs = zip(point.scores, other.scores, strict=True)
    differences = [mine - theirs for mine, theirs in pairs]
    return {
        "compound": point.label,
        "against": f"{name}, {other.label}",
        "its multiply-adds, M": f"{other.multiply_adds / 1e6:.2f}",
        "difference": f"{100 * statistics.fmean(differences):+.2f}",
        "95% interval": describe_interval(differences),
        "pairs": len(differences),
    }
