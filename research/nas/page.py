"""Report and plot of the search."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from keras_efficientnet import read_stages
from keras_efficientnet.common.markdown import table

from .. import base_network, costs
from ..reporting import drawing
from ..reporting.folder import StudyFolder
from ..reporting.page import picture, write_page
from . import space
from .records import Search, SearchRow

TITLE = "Architecture search"
WINNER = "winner.json"
PICTURE = "nas.png"


def write(
    search: Search,
    rows: Sequence[SearchRow],
    best: SearchRow,
    call: str,
    folder: StudyFolder,
) -> None:
    """Writes the plot and the report.

    Args:
        search: Completed search.
        rows: Networks that were tried.
        best: Network with the highest reward.
        call: Code that builds the best network.
        folder: Folder of the study.
    """
    options = search.options
    unit = costs.KINDS[options.cost]
    reference = _reference(search, rows)
    _draw(rows, best, reference, options.cost, folder.root / PICTURE)
    roles = {best.number: "winner"}
    if reference is not None:
        roles[reference.number] = "base" + (", winner" if reference is best else "")
    networks = list({row.stages: row for row in reversed(rows)}.values())
    shown = sorted(networks, key=lambda row: -row.reward)[:10]
    if reference is not None and reference not in shown:
        shown.append(reference)
    blocks = [
        base_network.describe(search.config),
        f"Out of {space.count(search.skeleton):.2g} stage tables, {len(networks)} "
        f"were tried in {len(rows)} trials, chosen by Optuna's {options.sampler}. "
        f"Reward: validation top-1 * (cost / T) ** {options.weight:g}; cost: {unit}, "
        f"T = {costs.format_cost(options.cost, search.target)}.",
        picture(PICTURE, "Validation top-1 against cost"),
        f"## The best\n\n{table([_cells(row, roles, options.cost) for row in shown])}",
        "## The winner\n\n" + table(_stages(best)),
        "```python\nfrom keras_efficientnet import EfficientNet, read_stages\n\n"
        f"model = {call}\n```",
    ]
    files = {"results.csv": "one row per trial", PICTURE: "the plot"}
    files[WINNER] = "stage table of the winner, for `read_stages`"
    write_page(folder, TITLE, blocks, files)


def pareto(rows: Sequence[SearchRow]) -> list[SearchRow]:
    """Returns the Pareto front of cost and top-1.

    Args:
        rows: Networks that were tried.

    Returns:
        Networks of the front, by increasing cost.
    """
    front: list[SearchRow] = []
    for row in sorted(rows, key=lambda row: (row.cost, -row.top1)):
        if not front or row.top1 > front[-1].top1:
            front.append(row)
    return front


def _reference(search: Search, rows: Sequence[SearchRow]) -> SearchRow | None:
    """Returns the base's row, or None if the base was not tried."""
    wanted = search.config.stage_table
    return next((row for row in rows if read_stages(row.stages) == wanted), None)


def _cells(row: SearchRow, roles: dict[int, str], kind: str) -> dict[str, Any]:
    return {
        "trial": row.number,
        "role": roles.get(row.number, ""),
        "reward": f"{row.reward:.4f}",
        "validation top-1, %": f"{100 * row.top1:.2f}",
        "final top-1, %": f"{100 * row.test_top1:.2f}",
        costs.KINDS[kind]: costs.format_cost(kind, row.cost),
        "parameters": f"{row.trainable_params:,}",
    }


def _stages(row: SearchRow) -> list[dict[str, Any]]:
    return [
        {"stage": i, **vars(stage)}
        for i, stage in enumerate(read_stages(row.stages), start=1)
    ]


def _draw(
    rows: Sequence[SearchRow],
    best: SearchRow,
    reference: SearchRow | None,
    kind: str,
    path: pathlib.Path,
) -> None:
    figure = drawing.new_figure()
    axes = figure.subplots()
    scale = 1e6 if kind == "flops" else 1.0
    name = f"{costs.KINDS[kind]}{', millions' if kind == 'flops' else ''}"

    def at(row: SearchRow) -> tuple[float, float]:
        return row.cost / scale, 100 * row.top1

    axes.scatter(*zip(*map(at, rows), strict=True), color="#999999", label="tried")
    axes.plot(
        *zip(*map(at, pareto(rows)), strict=True),
        color=drawing.COLORS[0],
        marker="o",
        label="Pareto front",
    )
    style: dict[str, Any] = {"ls": "none", "ms": 14}
    axes.plot(*at(best), "*", color=drawing.COLORS[1], label="winner", **style)
    if reference is not None:
        # Hollow, so that the winner shows when it is the base.
        hollow: dict[str, Any] = {"mfc": "none", "mec": drawing.COLORS[2], "mew": 2}
        axes.plot(*at(reference), "D", label="base", **hollow, **style)
    axes.legend(frameon=False, loc="lower right")
    drawing.tidy(axes, "Networks of the search", name, "validation top-1, %")
    drawing.save(figure, path)
