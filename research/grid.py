"""Grid search of the compound scaling coefficients (section 4 of the paper)."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from keras_efficientnet import Scaling, compound, plan_cost
from keras_efficientnet.architecture import MAX_BLOCKS, Variant, block_plan
from keras_efficientnet.common.markdown import table

from . import base_network, calls, costs, trainer
from .execution import trials
from .options import option
from .reporting import drawing
from .reporting.folder import StudyFolder, open_folder
from .reporting.page import picture, write_page

TITLE = "Coefficients of compound scaling"
GOAL = 2.0  # ratio of multiply-adds for one step of phi
PHIS = range(1, 8)


@dataclasses.dataclass(frozen=True)
class GridOptions(base_network.TrainingOptions):
    """Options of the grid search."""

    grid_step: float = option(0.05, "Step between two values of a coefficient.")
    tolerance: float = option(
        0.1, "Largest difference of alpha * beta**2 * gamma**2 from 2."
    )
    cost: str = option(
        "flops", "Cost: flops (counted) or latency (measured on this machine)."
    )
    weight: float = option(
        -0.07, "Exponent w of the ranking by top-1 * (cost / (2 * base's cost)) ** w."
    )
    seeds: int = option(1, "Number of training runs per network, with seeds 0, 1, ...")


OPTIONS = GridOptions


@dataclasses.dataclass(frozen=True)
class GridRow:
    """One triple of coefficients.

    Attributes:
        alpha: Depth ratio of one step of phi.
        beta: Width ratio of one step of phi.
        gamma: Resolution ratio of one step of phi.
        image_size: Image size in pixels.
        multiply_adds: Multiply-adds for one image.
        cost_ratio: Cost of the network divided by that of the base.
        top1: Validation top-1, a ratio, mean over the seeds.
        test_top1: Top-1 on the final split, a ratio, mean over the seeds.
        reward: Objective that ranks the triples.
    """

    alpha: float
    beta: float
    gamma: float
    image_size: int
    multiply_adds: int
    cost_ratio: float
    top1: float
    test_top1: float
    reward: float


def run(options: GridOptions, output_dir: pathlib.Path) -> None:
    """Trains all triples, chooses the best and prints its family.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: An option is invalid, or the folder holds another study.
        RuntimeError: A training run failed.
    """
    options = base_network.resolve_data(options)
    costs.check_kind(options.cost)
    found = triples(options.grid_step, options.tolerance)
    config = base_network.base_config(options)
    with open_folder(output_dir, "grid", options) as folder:
        rows = _judge(options, config, found, folder)
        best = max(rows, key=lambda row: row.reward)
        members = family(config, best, options.cost)
        _draw(rows, best, costs.KINDS[options.cost], folder.root / "grid.png")
        files = {"results.csv": "one row per triple", "grid.png": "the plot"}
        files |= calls.write_stages(config, folder.root)
        networks: dict[Any, list[GridRow]] = {}
        for row in rows:
            networks.setdefault(_plan(config, Scaling(*_ratios(row))), []).append(row)
        blocks = [
            base_network.describe(config),
            f"{len(rows)} triples give {len(networks)} different networks. The best: "
            f"alpha {best.alpha:g}, beta {best.beta:g}, gamma {best.gamma:g}, with "
            f"{best.cost_ratio:.2f} times the base's {costs.KINDS[options.cost]}, "
            f"validation top-1 {best.top1:.2%}, final split {best.test_top1:.2%}.",
            picture("grid.png", "Validation top-1 against cost of each triple"),
            f"## The ten best networks\n\n{table(_ranked(networks.values()))}",
            f"## The family\n\n{table(members)}",
        ]
        write_page(folder, TITLE, blocks, files)
    for member in members:
        print("  ".join(f"{name} {value}" for name, value in member.items()))


def triples(grid_step: float, tolerance: float) -> list[tuple[float, float, float]]:
    """Lists the triples with alpha * beta**2 * gamma**2 near 2.

    Args:
        grid_step: Step between two values of a coefficient.
        tolerance: Largest difference of the product from 2.

    Returns:
        Triples (alpha, beta, gamma), each coefficient at least 1.

    Raises:
        ValueError: An argument is out of range, or there is no such triple.

    Source:
        arXiv:1905.11946, equation 3 and section 4, step 1.

    Example:
        >>> (1.2, 1.1, 1.15) in triples(0.05, 0.1)
        True
    """
    if not 0 < grid_step <= 1:
        raise ValueError(
            f"`grid_step` must be above 0 and at most 1. Received: {grid_step}"
        )
    if tolerance < 0:
        raise ValueError(f"`tolerance` must be at least 0. Received: {tolerance}")
    count = int((GOAL + tolerance - 1) / grid_step + 1e-9) + 1
    values = [round(1 + grid_step * i, 6) for i in range(count)]
    found = [
        (alpha, beta, gamma)
        for alpha, beta, gamma in itertools.product(values, repeat=3)
        if abs(alpha * beta**2 * gamma**2 - GOAL) <= tolerance + 1e-9
    ]
    if not found:
        raise ValueError(
            "`grid_step` and `tolerance` must leave at least one triple. "
            f"Received: grid_step={grid_step}, tolerance={tolerance}"
        )
    return found


def family(
    config: trainer.config.TrainConfig, row: Any, kind: str
) -> list[dict[str, Any]]:
    """Lists the scaled networks for phi = 1 to 7.

    Args:
        config: Training configuration of the base.
        row: Result with the attributes alpha, beta and gamma.
        kind: Kind of cost, "flops" or "latency".

    Returns:
        Rows of a table: phi, depth, width, resolution, costs, and the call that
        builds the network.
    """
    members = []
    classes = base_network.count_classes(config)
    for phi in PHIS:
        scaling = compound(phi, row.alpha, row.beta, row.gamma)
        variant = _variant(config, scaling)
        cells: dict[str, Any] = {
            "phi": phi,
            "depth": f"{variant.depth:.3f}",
            "width": f"{variant.width:.3f}",
            "pixels": variant.resolution,
        }
        try:
            cost = plan_cost(variant, classes)
        except ValueError:  # more blocks in a stage than layer names allow
            cells |= {"multiply-adds, M": "", "parameters, M": ""}
            cells |= {"ms": ""} if kind == "latency" else {}
            members.append(
                cells | {"call": f"more than {MAX_BLOCKS} blocks in a stage"}
            )
            continue
        cells["multiply-adds, M"] = f"{cost.multiply_adds / 1e6:.2f}"
        cells["parameters, M"] = f"{cost.trainable_params / 1e6:.3f}"
        if kind == "latency":
            cells["ms"] = f"{costs.cost_of(kind, variant, classes):.3f}"
        members.append(cells | {"call": f"`{calls.describe_call(variant, classes)}`"})
    return members


def _judge(
    options: GridOptions,
    config: trainer.config.TrainConfig,
    found: Sequence[tuple[float, float, float]],
    folder: StudyFolder,
) -> list[GridRow]:
    """Trains each distinct network once per seed, and ranks the triples."""
    by_network: dict[Any, list[Scaling]] = {}
    for alpha, beta, gamma in found:
        scaling = Scaling(alpha, beta, gamma)
        by_network.setdefault(_plan(config, scaling), []).append(scaling)
    first = [group[0] for group in by_network.values()]
    jobs = [
        trials.Trial(
            f"alpha {s.depth:g}, beta {s.width:g}, gamma {s.resolution:g}, seed {seed}",
            base_network.scaled_config(config, s, seed),
            options.train_images,
            options.validation_images,
            options.test_images,
        )
        for seed in range(options.seeds)
        for s in first
    ]
    storage = options.storage_folder(folder.root)
    results = trials.run_trials(jobs, storage, processes=options.processes)
    rows = folder.rows(GridRow, ("alpha", "beta", "gamma"))
    classes = base_network.count_classes(config)
    start = costs.cost_of(options.cost, trainer.variant_of(config), classes)
    for i, group in enumerate(by_network.values()):
        of = results[i :: len(first)]
        variant = _variant(config, group[0])
        cost = costs.cost_of(options.cost, variant, classes)
        top1 = statistics.fmean(result["validation_top1"] for result in of)
        for scaling in group:
            row = GridRow(
                alpha=scaling.depth,
                beta=scaling.width,
                gamma=scaling.resolution,
                image_size=variant.resolution,
                multiply_adds=plan_cost(variant, classes).multiply_adds,
                cost_ratio=cost / start,
                top1=top1,
                test_top1=statistics.fmean(result["top1"] for result in of),
                reward=costs.search_reward(top1, cost, GOAL * start, options.weight),
            )
            rows.add(row)
    return rows.rows


def _variant(config: trainer.config.TrainConfig, scaling: Scaling) -> Variant:
    return trainer.variant_of(base_network.scaled_config(config, scaling, seed=0))


def _plan(config: trainer.config.TrainConfig, scaling: Scaling) -> Any:
    """Returns a key that is equal for networks that are equal after rounding."""
    variant = _variant(config, scaling)
    ends = (variant.resolution, variant.stem_filters, variant.head_filters)
    return ends, block_plan(variant)


def _ratios(row: GridRow) -> tuple[float, float, float]:
    return row.alpha, row.beta, row.gamma


def _ranked(networks: Iterable[Sequence[GridRow]]) -> list[dict[str, Any]]:
    """Returns table rows of the best networks, one per distinct network."""
    ordered = sorted(networks, key=lambda group: -group[0].reward)
    return [
        {
            "alpha": f"{row.alpha:g}",
            "beta": f"{row.beta:g}",
            "gamma": f"{row.gamma:g}",
            "triples": len(group),
            "pixels": row.image_size,
            "cost / base's": f"{row.cost_ratio:.2f}",
            "validation top-1, %": f"{100 * row.top1:.2f}",
            "final top-1, %": f"{100 * row.test_top1:.2f}",
            "reward": f"{row.reward:.4f}",
        }
        for group in ordered[:10]
        for row in group[:1]
    ]


def _draw(
    rows: Sequence[GridRow], best: GridRow, cost: str, path: pathlib.Path
) -> None:
    figure = drawing.new_figure()
    axes = figure.subplots()
    x = [row.cost_ratio for row in rows]
    drawn = axes.scatter(
        x, [100 * row.top1 for row in rows], c=[row.gamma for row in rows], s=40
    )
    figure.colorbar(drawn, label="gamma: resolution")
    axes.scatter(best.cost_ratio, 100 * best.top1, s=160, fc="none", ec="black")
    label = f"best: {best.alpha:g}, {best.beta:g}, {best.gamma:g}"
    at = (best.cost_ratio, 100 * best.top1)
    axes.annotate(label, at, xytext=(9, 9), textcoords="offset points")
    axes.margins(0.1)
    title = "Triples of alpha, beta and gamma with a nominal cost ratio of 2"
    drawing.tidy(axes, title, f"{cost} relative to the base", "validation top-1, %")
    drawing.save(figure, path)
