"""Scaling of width, depth, resolution and all three (Figures 3, 4 and 8)."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from keras_efficientnet import Scaling, compound, plan_cost
from keras_efficientnet.common.markdown import table

from .. import base_network, baselines, trainer
from ..execution import trials
from ..options import option
from ..reporting.folder import open_folder
from ..reporting.page import picture, write_page
from . import comparison, figure
from .records import COMPOUND, SINGLE, Point, ScalingRow

TITLE = "Scaling one dimension or all three"


@dataclasses.dataclass(frozen=True)
class ScalingOptions(base_network.TrainingOptions):
    """Options of the scaling study."""

    base: str = option(
        "",
        "Base network: a variant such as EfficientNetB0, a baseline of Table 3 "
        "(MobileNetV1, MobileNetV2, ResNet50), or a JSON file with a stage table. By "
        "default the recipe's network.",
    )
    base_width: float = option(1.0, "Width of the base, as a ratio to that network.")
    base_depth: float = option(1.0, "Depth of the base, as a ratio to that network.")
    widths: tuple[float, ...] = option((2.0, 3.0), "Figure 3: width ratios.")
    depths: tuple[float, ...] = option((2.0, 4.0), "Figure 3: depth ratios.")
    resolutions: tuple[float, ...] = option(
        (1.25, 1.75), "Figure 3: resolution ratios."
    )
    at: tuple[str, ...] = option(
        ("2:1.5",),
        "Figure 4: DEPTH:RESOLUTION pairs at which width is scaled, besides 1:1.",
    )
    at_widths: tuple[float, ...] = option((2.0,), "Figure 4: width ratios.")
    phis: tuple[float, ...] = option((1.0, 3.0), "Figure 8: compound coefficients phi.")
    alpha: float = option(1.2, "Figure 8: depth ratio of one step of phi.")
    beta: float = option(1.1, "Figure 8: width ratio of one step of phi.")
    gamma: float = option(1.15, "Figure 8: resolution ratio of one step of phi.")
    seeds: int = option(3, "Number of training runs per network, with seeds 0, 1, ...")
    keep_runs: bool = option(
        False,
        "Whether to train each network once more with seed 0 and to keep its run "
        "folder in OUTPUT_DIR/runs, for `cam` and for export; not for baselines.",
        is_setting=False,
    )


OPTIONS = ScalingOptions


def run(options: ScalingOptions, output_dir: pathlib.Path) -> None:
    """Trains all networks, draws the figures and writes the report.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: An option is invalid, or the folder holds another study.
        RuntimeError: A training run failed.
    """
    options = base_network.resolve_data(options)
    lines = series(options)
    baseline, config = base_of(options)
    if baseline and options.keep_runs:
        raise ValueError(
            "`keep_runs` must be False for a baseline, because only EfficientNets have "
            f"run folders with a model. Received: base={options.base!r}"
        )
    with open_folder(output_dir, "scaling", options) as folder:
        rows = folder.rows(ScalingRow, ("width", "depth", "resolution", "seed"))
        for row in _train(options, baseline, config, lines, folder.root):
            rows.add(row)
        points = {name: _points(found, rows.rows) for name, found in lines.items()}
        at = [_at(text) for text in options.at]
        figure.draw(points, at, options.data, folder.root / "scaling.png")
        blocks = [
            f"{_describe_base(baseline, config)} {_describe_time(rows.rows)}",
            picture("scaling.png", "Accuracy against multiply-adds"),
            *_tables(points),
            *comparison.describe(points),
        ]
        files = {
            rows.path.name: "one row per training run",
            "scaling.png": "the figures",
        }
        if options.keep_runs:
            _keep_runs(options, config, lines, folder.root / "runs")
            files["runs"] = "run folders of seed 0"
        write_page(folder, TITLE, blocks, files)


def base_of(options: ScalingOptions) -> tuple[str, trainer.config.TrainConfig]:
    """Returns the base network and its training configuration.

    Args:
        options: Options with a resolved data source.

    Returns:
        Key of `baselines.NETWORKS`, or "" for an EfficientNet, and the configuration.

    Raises:
        ValueError: An option is invalid.
    """
    baseline = baselines.find(options.base)
    plain = dataclasses.replace(options, base="") if baseline else options
    config = base_network.base_config(plain)
    width, depth = options.base_width, options.base_depth
    if baseline:  # its ratios refer to the published network
        return baseline, dataclasses.replace(config, width=width, depth=depth)
    return "", base_network.scaled_config(config, Scaling(depth, width), config.seed)


def series(options: ScalingOptions) -> dict[str, list[tuple[str, Scaling]]]:
    """Lists the networks of each line of the figures, with their labels.

    Args:
        options: Options of the study.

    Returns:
        Lines "width", "depth", "resolution" and "compound", each starting at the base,
        and a line per DEPTH:RESOLUTION.

    Raises:
        ValueError: A ratio is not above 0, `at` is malformed, or `seeds` is below 1.
    """
    if options.seeds < 1:
        raise ValueError(f"`seeds` must be at least 1. Received: seeds={options.seeds}")
    start = ("base", Scaling())
    found = {
        "width": [start, *((f"w={w:g}", Scaling(width=w)) for w in options.widths)],
        "depth": [start, *((f"d={d:g}", Scaling(depth=d)) for d in options.depths)],
        "resolution": [
            start,
            *((f"r={r:g}", Scaling(resolution=r)) for r in options.resolutions),
        ],
    }
    steps = (options.alpha, options.beta, options.gamma)
    grown = [(f"phi={phi:g}", compound(phi, *steps)) for phi in options.phis]
    found[COMPOUND] = [start, *grown]
    for text in options.at:
        depth, resolution = _at(text)
        found[f"{depth:g}:{resolution:g}"] = [
            (f"w={width:g}", Scaling(depth, width, resolution))
            for width in (1.0, *options.at_widths)
        ]
    return found


def _at(text: str) -> tuple[float, float]:
    try:
        depth, resolution = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise ValueError(
            f"`at` must be a list of DEPTH:RESOLUTION like 2:1,1:1.5. "
            f"Received: at={text!r}"
        ) from error
    return depth, resolution


def _train(
    options: ScalingOptions,
    baseline: str,
    config: trainer.config.TrainConfig,
    lines: dict[str, list[tuple[str, Scaling]]],
    root: pathlib.Path,
) -> Iterator[ScalingRow]:
    networks = list(dict.fromkeys(s for line in lines.values() for _, s in line))
    wanted = [(s, seed) for seed in range(options.seeds) for s in networks]
    jobs = [_trial(options, baseline, config, s, seed) for s, seed in wanted]
    storage = options.storage_folder(root)
    results = trials.run_trials(jobs, storage, processes=options.processes)
    classes = base_network.count_classes(config)
    for (s, seed), job, result in zip(wanted, jobs, results, strict=True):
        multiply_adds, trainable_params = _cost(job, classes)
        yield ScalingRow(
            width=s.width,
            depth=s.depth,
            resolution=s.resolution,
            seed=seed,
            image_size=job.config.resolution,
            multiply_adds=multiply_adds,
            trainable_params=trainable_params,
            **result,
        )


def _trial(
    options: ScalingOptions,
    baseline: str,
    config: trainer.config.TrainConfig,
    s: Scaling,
    seed: int,
) -> trials.Trial:
    return trials.Trial(
        f"width {s.width:.3g}, depth {s.depth:.3g}, resolution "
        f"{s.resolution:.3g}, seed {seed}",
        base_network.scaled_config(config, s, seed),
        options.train_images,
        options.validation_images,
        options.test_images,
        baseline,
    )


def _keep_runs(
    options: ScalingOptions,
    config: trainer.config.TrainConfig,
    lines: dict[str, list[tuple[str, Scaling]]],
    root: pathlib.Path,
) -> None:
    """Trains each network with seed 0, in a run folder named after its scaling."""
    named = {
        label
        if line in (*SINGLE, COMPOUND)
        else f"{label}_d={s.depth:g}_r={s.resolution:g}": s
        for line, networks in lines.items()
        for label, s in networks
    }
    for name, s in named.items():
        trial = _trial(options, "", config, s, 0)
        trials.train(trial, root / name, scores_only=False)


def _cost(job: trials.Trial, classes: int) -> tuple[int, int]:
    if job.baseline:
        return baselines.count(job.baseline, job.config, classes)
    cost = plan_cost(trainer.variant_of(job.config), classes)
    return cost.multiply_adds, cost.trainable_params


def _describe_base(baseline: str, config: trainer.config.TrainConfig) -> str:
    if not baseline:
        return base_network.describe(config)
    return (
        f"The base network: {baseline} with {config.width:g} times the channels and "
        f"{config.depth:g} times the blocks, {base_network.describe_training(config)}"
    )


def _points(
    line: Sequence[tuple[str, Scaling]], rows: Sequence[ScalingRow]
) -> list[Point]:
    found = []
    for label, s in line:
        wanted = (s.width, s.depth, s.resolution)
        of = [r for r in rows if (r.width, r.depth, r.resolution) == wanted]
        of.sort(key=lambda row: row.seed)
        scores = tuple(row.top1 for row in of)
        cost = of[0].multiply_adds, of[0].trainable_params
        found.append(Point(label, s, *cost, scores))
    return found


def _describe_time(rows: Sequence[ScalingRow]) -> str:
    minutes = sum(row.seconds for row in rows) / 60
    return f"The {len(rows)} training runs took {minutes:.0f} minutes in total."


def _tables(points: dict[str, list[Point]]) -> Iterator[str]:
    for name, line in points.items():
        rows = [
            {
                "network": point.label,
                "multiply-adds, M": f"{point.multiply_adds / 1e6:.2f}",
                "parameters, M": f"{point.trainable_params / 1e6:.3f}",
                "top-1, %": f"{100 * point.top1:.2f}",
                "deviation": f"{100 * point.deviation:.2f}",
                "seeds": point.seeds,
                "95% interval": comparison.describe_interval(point.scores),
            }
            for point in line
        ]
        title = name if name in (*SINGLE, COMPOUND) else f"width at {name}"
        yield f"## {title.capitalize()}\n\n{table(rows)}"
