"""Fine-tuning on the transfer data sets (Table 5 and Figure 6 of the paper)."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from keras_efficientnet import VARIANTS, plan_cost
from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.intervals import wilson_interval
from keras_efficientnet.common.markdown import table

from .. import base_network, trainer
from ..execution import trials
from ..options import option
from ..reporting.folder import open_folder
from ..reporting.page import picture, write_page
from . import figure
from .data import (
    PAPER_NAMES,
    Best,
    TransferSet,
    open_data_set,
    paper_rows,
    parse,
    repeated,
)

TITLE = "Transfer learning"
PRETRAINED, SCRATCH = "imagenet", "scratch"


@dataclasses.dataclass(frozen=True)
class TransferOptions(base_network.ParallelOptions):
    """Options of the transfer study."""

    models: tuple[str, ...] = option(
        ("EfficientNetB0",), 'Variants with "imagenet" weights.'
    )
    datasets: tuple[str, ...] = option(
        tuple(PAPER_NAMES),
        "Data sets: names of the paper's, or NAME=SOURCE for any other, or for another "
        "place, such as birdsnap=folder:/data/birdsnap.",
    )
    learning_rates: tuple[float, ...] = option(
        trainer.transfer.LEARNING_RATES,
        "Learning rates for 256 images, chosen on held-out images.",
    )
    weight_decays: tuple[float, ...] = option(
        (1e-6, 1e-5, 1e-4), "Weight decays, chosen on held-out images."
    )
    scratch: bool = option(
        False, "Whether to train each network from random weights too."
    )
    steps: int = option(trainer.transfer.STEPS, "Training steps per run.")
    batch_size: int = option(trainer.transfer.BATCH_SIZE, "Number of images per step.")
    image_size: int = option(0, "Image size in pixels; 0: the variant's.")
    seeds: int = option(
        1, "Number of training runs with the chosen settings, with seeds 0, 1, ..."
    )
    train_images: int = option(0, "Maximum number of training images; 0: all.")
    validation_images: int = option(0, "Maximum number of held-out images; 0: all.")
    test_images: int = option(0, "Maximum number of test images; 0: all.")
    data_dir: str = option("", "Folder of TFDS's data sets; empty: TFDS's default.")


OPTIONS = TransferOptions


@dataclasses.dataclass(frozen=True)
class TransferRow:
    """One training run.

    Attributes:
        dataset: Name of the data set.
        model: Variant.
        start: Initial weights, "imagenet" or "scratch".
        learning_rate: Learning rate for 256 images.
        weight_decay: Weight decay.
        seed: Random seed.
        validation_top1: Top-1 on the held-out images, a ratio; 0 if the run diverged.
        top1: Top-1 on the test images, a ratio; 0 if the run diverged.
        seconds: Training time in seconds.
    """

    dataset: str
    model: str
    start: str
    learning_rate: float
    weight_decay: float
    seed: int
    validation_top1: float
    top1: float
    seconds: float


def run(options: TransferOptions, output_dir: pathlib.Path) -> None:
    """Chooses the settings of each network and data set, and reports the test scores.

    Args:
        options: Options of the study.
        output_dir: Folder to write into; an interrupted study is resumed.

    Raises:
        ValueError: An option is invalid, no data set can be read, or the folder holds
            another study.
        RuntimeError: A training run failed.
    """
    options = _checked(options)
    data_sets = [
        open_data_set(text, options.data_dir, options.train_images, options.test_images)
        for text in options.datasets
    ]
    present = [data_set for data_set in data_sets if not data_set.problem]
    missing = [data_set for data_set in data_sets if data_set.problem]
    if not present:
        raise ValueError(
            "`datasets` must have a data set that can be read. Received: "
            + "; ".join(f"{found.name}: {found.problem}" for found in missing)
        )
    with open_folder(output_dir, "transfer", options) as folder:
        key = [f.name for f in dataclasses.fields(TransferRow)][:6]
        rows = folder.rows(TransferRow, key)
        best = _tune(options, present, folder.root, rows.add)
        figure.draw(best, folder.root / "transfer.png")
        blocks = [
            _describe(options),
            picture("transfer.png", "Test accuracy by parameters"),
            *(_section(data_set, best) for data_set in present),
            *([_missing(missing)] if missing else []),
        ]
        files = {
            rows.path.name: "one row per training run",
            "transfer.png": "the figure",
        }
        write_page(folder, TITLE, blocks, files)


def train_or_diverge(trial: trials.Trial, folder: pathlib.Path) -> trials.Result:
    """Trains a network; the accuracy of a run that diverges counts as 0.

    Large learning rates may diverge, which must not end the study.

    Args:
        trial: Trial to train.
        folder: Run folder; an interrupted run is resumed.
    """
    try:
        return trials.train(trial, folder)
    except FloatingPointError:
        return {"top1": 0.0, "validation_top1": 0.0, "seconds": 0.0}


def _checked(options: TransferOptions) -> TransferOptions:
    """Checks the options, and replaces the names of variants by their usual form."""
    for name in ("steps", "batch_size", "seeds"):
        if getattr(options, name) < 1:
            raise ValueError(
                f"`{name}` must be at least 1. Received: {name}="
                f"{getattr(options, name)}"
            )
    for name in ("models", "datasets", "learning_rates", "weight_decays"):
        if not getattr(options, name):
            raise ValueError(f"`{name}` must not be empty.")
    models = tuple(find_variant(model) for model in options.models)
    names = [parse(text)[0] for text in options.datasets]
    for name, items in (("models", models), ("datasets", names)):
        if repeated(items):
            raise ValueError(
                f"`{name}` must have each name once. Received: {repeated(items)} twice"
            )
    return dataclasses.replace(options, models=models)


def _tune(
    options: TransferOptions,
    data_sets: Sequence[TransferSet],
    root: pathlib.Path,
    add: Callable[[TransferRow], None],
) -> list[Best]:
    """Trains with all settings, and with the best ones once per further seed."""
    starts = (PRETRAINED, SCRATCH) if options.scratch else (PRETRAINED,)
    cells = list(itertools.product(data_sets, options.models, starts))
    grid = list(itertools.product(options.learning_rates, options.weight_decays))
    first = [(cell, setting, 0) for cell in cells for setting in grid]
    tried = _train(options, first, root, add)
    chosen = {}
    for i, cell in enumerate(cells):
        candidates = tried[i * len(grid) : (i + 1) * len(grid)]
        # `max` returns the first of several equals.
        chosen[cell] = max(candidates, key=lambda row: row.validation_top1)
    again = [
        (cell, (row.learning_rate, row.weight_decay), seed)
        for seed in range(1, options.seeds)
        for cell, row in chosen.items()
    ]
    repeats = _train(options, again, root, add)
    return [
        _best(cell, row, [r for r in repeats if _cell_of(r) == _cell_of(row)])
        for cell, row in chosen.items()
    ]


def _train(
    options: TransferOptions,
    wanted: Sequence[tuple[tuple[TransferSet, str, str], tuple[float, float], int]],
    root: pathlib.Path,
    add: Callable[[TransferRow], None],
) -> list[TransferRow]:
    jobs = []
    for (data_set, model, start), (learning_rate, weight_decay), seed in wanted:
        config = dataclasses.replace(
            run_config(options, data_set, model, start),
            lr_per_256=learning_rate,
            weight_decay=weight_decay,
            seed=seed,
        )
        name = (
            f"{data_set.name}, {model}, {start}, learning rate {learning_rate:.2g}, "
            f"weight decay {weight_decay:.2g}, seed {seed}"
        )
        limits = options.train_images, options.validation_images, options.test_images
        jobs.append(trials.Trial(name, config, *limits))
    storage = options.storage_folder(root)
    results = trials.run_trials(
        jobs, storage, processes=options.processes, make=train_or_diverge
    )
    rows = []
    for (cell, setting, seed), result in zip(wanted, results, strict=True):
        data_set, model, start = cell
        rows.append(TransferRow(data_set.name, model, start, *setting, seed, **result))
        add(rows[-1])
    return rows


def run_config(
    options: TransferOptions, data_set: TransferSet, model: str, start: str
) -> trainer.config.TrainConfig:
    """Returns the training configuration of a network on a data set.

    Args:
        options: Options of the study.
        data_set: Data set to train on.
        model: Variant.
        start: Initial weights, "imagenet" or "scratch".
    """
    config = trainer.config.load(f"transfer:{model},flowers")
    length = trainer.transfer.schedule_fields(
        data_set.train_images, options.steps, options.batch_size
    )
    return dataclasses.replace(
        config,
        weights=PRETRAINED if start == PRETRAINED else None,
        data=data_set.data,
        data_dir=options.data_dir or None,
        image_size=options.image_size or None,
        **length,
        strategy="one_device",
    )


def _cell_of(row: TransferRow) -> tuple[str, str, str]:
    return row.dataset, row.model, row.start


def _best(
    cell: tuple[TransferSet, str, str],
    row: TransferRow,
    repeats: Sequence[TransferRow],
) -> Best:
    scores = [row.top1, *(repeat.top1 for repeat in repeats)]
    cost = plan_cost(VARIANTS[row.model], cell[0].classes)
    return Best(
        *_cell_of(row),
        row.learning_rate,
        row.weight_decay,
        row.validation_top1,
        statistics.fmean(scores),
        statistics.stdev(scores) if len(scores) > 1 else 0.0,
        len(scores),
        cost.trainable_params,
    )


def _describe(options: TransferOptions) -> str:
    runs = len(options.learning_rates) * len(options.weight_decays)
    return (
        f"Each network was trained for {options.steps:,} steps of {options.batch_size} "
        f"images with {runs} settings of learning rate and weight decay. Only the "
        'held-out images chose the setting and the epoch. The column "paper" has the '
        "accuracy in the paper's Table 5. The interval covers the random choice of the "
        "test images, not the seed."
    )


def _section(data_set: TransferSet, best: Sequence[Best]) -> str:
    lines: list[dict[str, Any]] = []
    paper = {row["model"]: row for row in paper_rows(data_set.name)}
    for found in best:
        if found.dataset == data_set.name:
            printed = paper.get(found.model, {}) if found.start == PRETRAINED else {}
            lines.append(
                {
                    "network": found.model,
                    "weights": found.start,
                    "parameters": f"{found.trainable_params / 1e6:.1f} M",
                    "learning rate": f"{found.learning_rate:.2g}",
                    "weight decay": f"{found.weight_decay:.2g}",
                    "held-out top-1": f"{found.validation_top1:.2%}",
                    "test top-1": f"{found.top1:.2%}",
                    "95% interval": _interval(found.top1, data_set.test_images),
                    "deviation": f"{found.deviation:.2%}" if found.seeds > 1 else "",
                    "paper": f"{printed['acc']}%" if printed else "",
                }
            )
    text = f"## {data_set.name}\n\n{table(lines)}"
    for row in paper.values():
        size = f", {row['peer_params_M']} M" if row["peer_params_M"] else ""
        text += (
            f"\n\nThe paper prints {row['acc']}% for {row['model']} and "
            f"{row['peer_acc']}% for {row['peer']}{size} ({row['comparison']})."
        )
    return text


def _interval(top1: float, images: int) -> str:
    low, high = wilson_interval(round(top1 * images), images)
    return f"{low:.1%} to {high:.1%}"


def _missing(data_sets: Sequence[TransferSet]) -> str:
    lines = [f"- {found.name} (`{found.data}`): {found.problem}" for found in data_sets]
    more = "The guide to transfer learning, docs/transfer.md, explains how to get data."
    return "\n".join(["## Missing data", "", *lines, "", more])
