"""Section 4: the coefficients of compound scaling, and the family they give."""

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
GOAL = 2.0  # times the multiply-adds, for one step of phi
PHIS = range(1, 8)


@dataclasses.dataclass(frozen=True)
class GridOptions(base_network.TrainingOptions):
    """Which coefficients are tried, and how they are judged."""

    grid_step: float = option(0.05, "Between two values of a coefficient.")
    tolerance: float = option(
        0.1, "Of alpha * beta**2 * gamma**2 from 2, to either side."
    )
    cost: str = option("flops", "flops, counted, or latency, measured on this machine.")
    weight: float = option(
        -0.07, "Networks are ranked by top-1 * (cost / (2 * base's cost)) ** weight."
    )
    seeds: int = option(1, "Trainings per network, with seeds 0, 1, ...")


OPTIONS = GridOptions


@dataclasses.dataclass(frozen=True)
class GridRow:
    """One triple of coefficients.

    Attributes:
        alpha: Depth ratio of one step of phi.
        beta: Width ratio of one step of phi.
        gamma: Resolution ratio of one step of phi.
        image_size: Pixels.
        multiply_adds: For one image.
        cost_ratio: Cost of the network to that of the base.
        top1: Mean over the seeds, of the validation images, ratio.
        test_top1: The same of the final split.
        reward: What the triples are ranked by.
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
    """Tries all triples, chooses one and prints the family.

    Args:
        options: Which triples, and how they are judged.
        output_dir: Folder to write into; a study that was stopped is gone on with.

    Raises:
        ValueError: An option is not usable, or the folder holds another study.
        RuntimeError: A training failed.
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
        files = {"results.csv": "a row per triple", "grid.png": "the picture"}
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
    """Lists the coefficients whose product is near 2.

    Args:
        grid_step: Between two values of a coefficient.
        tolerance: Of alpha * beta**2 * gamma**2 from 2, to either side.

    Returns:
        (alpha, beta, gamma), each at least 1.

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
    """Lists the networks for phi = 1 to 7.

    Args:
        config: Of the base.
        row: With alpha, beta and gamma.
        kind: Of the cost.

    Returns:
        Cells of a table: phi, depth, width, resolution, costs, and the call that
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
        except ValueError:  # a stage of more blocks than there are letters
            cells |= {"multiply-adds, M": "", "parameters, M": ""}
            cells |= {"ms": ""} if kind == "latency" else {}
            members.append(cells | {"call": f"over {MAX_BLOCKS} blocks in a stage"})
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
    """Trains a network of each kind, once per seed, and ranks the triples."""
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
    storage = pathlib.Path(options.storage or folder.root / "trials").expanduser()
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
    """Returns what tells networks apart after all rounding."""
    variant = _variant(config, scaling)
    ends = (variant.resolution, variant.stem_filters, variant.head_filters)
    return ends, block_plan(variant)


def _ratios(row: GridRow) -> tuple[float, float, float]:
    return row.alpha, row.beta, row.gamma


def _ranked(networks: Iterable[Sequence[GridRow]]) -> list[dict[str, Any]]:
    """Returns cells of the best, from the triples of each network."""
    ordered = sorted(networks, key=lambda group: -group[0].reward)
    return [
        {
            "alpha": f"{row.alpha:g}",
            "beta": f"{row.beta:g}",
            "gamma": f"{row.gamma:g}",
            "triples of it": len(group),
            "pixels": row.image_size,
            "times the base's cost": f"{row.cost_ratio:.2f}",
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
    title = "Triples alpha, beta, gamma of about twice the cost by the formula"
    drawing.tidy(axes, title, f"{cost}, times the base's", "validation top-1, %")
    drawing.save(figure, path)
