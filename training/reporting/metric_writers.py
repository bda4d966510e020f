"""What a run tells people: progress, metrics, TensorBoard, report.md."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tqdm

from keras_efficientnet.common import markdown
from keras_efficientnet.common.files import write_csv, write_text

from ..config import TrainConfig
from ..engine.phases import Phase
from ..evaluate import wilson_interval
from .run_folder import RunFolder

METRICS = (
    "epoch",
    "step",
    "learning_rate",
    "train_loss",
    "train_top1",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "seconds",
)
SHOWN_BAD_IMAGES = 100  # names in the report

# What `tf.summary.scalar` writes; that needs TensorBoard installed, this does not.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class Progress:
    """A bar with images per second and time left, or one line per epoch.

    The bar needs a terminal; files and pipes get lines. A context manager.

    Args:
        config: The run.
        images: Of the training split.
        first_step: Steps that earlier sittings have made.
        show: Whether to show anything.
    """

    def __init__(
        self, config: TrainConfig, images: int, first_step: int, show: bool
    ) -> None:
        self._batch_size = config.batch_size
        self._epochs = config.epochs
        self._chosen_on = "minival" if config.minival else "validation"
        self._show = show
        self._bar = tqdm.tqdm(
            total=config.total_steps(images) * config.batch_size,
            initial=first_step * config.batch_size,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not (show and sys.stderr.isatty()),
        )
        self._shown = {"loss": math.nan, self._chosen_on: math.nan}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Counts one step."""
        self._bar.update(self._batch_size)

    def loss(self, mean: float) -> None:
        """Shows the mean loss of the epoch so far."""
        self._shown["loss"] = mean
        self._update()

    def epoch(self, row: dict[str, float]) -> None:
        """Shows the figures of a finished epoch."""
        self._shown[self._chosen_on] = row["validation_top1"]
        self._update()
        if self._show and self._bar.disable:
            print(
                f"epoch {row['epoch']:g}/{self._epochs:g}  "
                f"loss {row['train_loss']:.4f}  "
                f"top-1 {row['train_top1']:.2%}  "
                f"{self._chosen_on} loss {row['validation_loss']:.4f}  "
                f"top-1 {row['validation_top1']:.2%}  "
                f"{row['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    def _update(self) -> None:
        known = {k: f"{v:.4f}" for k, v in self._shown.items() if not math.isnan(v)}
        self._bar.set_postfix(known, refresh=False)


class Metrics:
    """metrics.csv: one row per epoch.

    Args:
        path: Of the file. Rows of an earlier sitting are kept up to `first_step`;
            later ones are about to be made again.
        first_step: Where training goes on.
    """

    def __init__(self, path: pathlib.Path, first_step: int) -> None:
        self._path = path
        self.rows: list[dict[str, float]] = []
        if path.is_file():
            try:
                rows = _read_metrics(path)
            except (ValueError, TypeError, csv.Error) as error:
                rows = []
                warnings.warn(
                    f"{path} is damaged ({error}); epochs of earlier sessions are "
                    "missing from the report",
                    stacklevel=2,
                )
            self.rows = [row for row in rows if row["step"] <= first_step]

    def add(self, row: dict[str, float]) -> None:
        """Adds a row; the file is never seen half written."""
        self.rows.append(row)
        rows = [{k: f"{v:.7g}" for k, v in old.items()} for old in self.rows]
        write_csv(self._path, rows)


def _read_metrics(path: pathlib.Path) -> list[dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != METRICS:
            raise ValueError(f"its columns must be {', '.join(METRICS)}")
        rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has too many or too few cells")
    return [{name: float(cell) for name, cell in row.items()} for row in rows]


class TensorBoard:
    """The same figures as TensorBoard scalars. A context manager.

    Args:
        directory: Where the event files go.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._writer = tf.summary.create_file_writer(str(directory))

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def add(self, row: dict[str, float]) -> None:
        """Writes all figures of an epoch at its step."""
        with self._writer.as_default(step=int(row["step"])):
            for name, value in row.items():
                if name != "step":
                    tag = name.replace("_", "/", 1)
                    tf.summary.write(tag, value, metadata=_SCALAR)
        self._writer.flush()


def write_report(
    folder: RunFolder,
    config: TrainConfig,
    summary: dict[str, Any],
    *,
    run_phases: Sequence[Phase] = (),
    bad_images: Sequence[str] = (),
) -> None:
    """Writes report.md.

    Args:
        folder: Of the run; files that exist in it are linked.
        config: The run.
        summary: Final figures, as in summary.json.
        run_phases: Result of `phases.plan`; told when there are several.
        bad_images: Names of images that could not be decoded.
    """
    split = summary["final_split"]
    chosen_on = "minival" if config.minival else "validation"
    figures = {
        f"top-1 on {split}": _share(summary, "final_top1"),
        f"top-5 on {split}": _share(summary, "final_top5"),
        f"images of {split}": f"{summary['final_images']:,}",
        f"loss on {split}, nats": f"{summary['final_loss']:.4f}",
        f"best {chosen_on} top-1": f"{summary['best_validation_top1']:.2%}",
        "at epoch": f"{summary['best_epoch']:g} of {config.epochs:g}",
        "trainable parameters": f"{summary['trainable_parameters']:,}",
        "steps": f"{summary['steps']:,}",
        "training time, s": summary["seconds"],
        "time to the first step, s": summary["seconds_to_first_step"],
    }
    files = {
        folder.model: "the network, with the averaged weights of the best epoch",
        folder.labels: "class names, in index order",
        folder.preprocessing: "how evaluation prepares an image",
        folder.metrics: "all figures of every epoch",
        folder.config: "the configuration",
        folder.environment: "versions and devices",
        folder.samples: "images for calibrating and verifying exports",
        folder.tensorboard: "the same figures for TensorBoard",
    }
    linked = [
        f"- [{path.name}]({path.name}): {what}"
        for path, what in files.items()
        if path.exists()
    ]
    fields = dataclasses.asdict(config)
    settings = {name: markdown.code(repr(value)) for name, value in fields.items()}
    lines = [
        f"# {config.variant} on {markdown.escape(config.data or 'arrays')}",
        "",
        _table("figure", "value", figures),
        "",
        "In brackets: the 95% interval by Wilson's method.",
        "",
        _on_selection(config, split),
        "",
        *_on_phases(run_phases),
        *_on_bad_images(bad_images),
        *_picture("Loss, accuracy and learning rate by epoch", folder.curves),
        f"![Images with predictions]({folder.predictions.name})",
        "",
        "## Files",
        "",
        *linked,
        "",
        "## Configuration",
        "",
        _table("field", "value", settings),
    ]
    write_text(folder.report, "\n".join(lines) + "\n")


def _picture(title: str, path: pathlib.Path) -> list[str]:
    return [f"![{title}]({path.name})", ""] if path.is_file() else []


def _share(summary: dict[str, Any], name: str) -> str:
    images = summary["final_images"]
    low, high = wilson_interval(round(summary[name] * images), images)
    return f"{summary[name]:.2%} ({low:.2%} to {high:.2%})"


def _on_selection(config: TrainConfig, split: str) -> str:
    if config.minival:
        return (
            "The weights are those of the epoch that was best on minival, "
            f"{config.minival:,} training images that were held out; {split} was "
            "scored once, at the end."
        )
    if split == "validation":
        return (
            "The weights are those of the epoch that was best on validation. There is "
            "no test split, so the figures are those of the images that chose the "
            "epoch, and flatter a little."
        )
    return (
        "The weights are those of the epoch that was best on validation; "
        f"{split} was scored once, at the end."
    )


def _on_phases(run_phases: Sequence[Phase]) -> list[str]:
    if len(run_phases) < 2:
        return []
    rows = {
        f"{phase.first_step + 1:,} to {phase.last_step:,}": describe_phase(phase)
        for phase in run_phases
    }
    return ["## Phases", "", _table("steps", "trained", rows), ""]


def describe_phase(phase: Phase) -> str:
    """Returns what is trained in a phase, and on which image size, in words."""
    whole = {None: "all weights", "top": "the classifier", 0: "all but the stem"}
    if phase.frozen in whole:
        trained = whole[phase.frozen]
    elif phase.frozen == 7:
        trained = "the head"
    else:
        trained = f"stages from {int(phase.frozen or 0) + 1}"
    return f"{trained}, {phase.image_size} pixels"


def _on_bad_images(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    rest = len(names) - SHOWN_BAD_IMAGES
    more = [f"- and {rest:,} more"] if rest > 0 else []
    return [
        "## Images that could not be decoded",
        "",
        f"{len(names):,} training images were left out:",
        "",
        *[f"- {markdown.code(name)}" for name in names[:SHOWN_BAD_IMAGES]],
        *more,
        "",
    ]


def _table(left: str, right: str, rows: dict[str, Any]) -> str:
    return markdown.table([{left: key, right: cell} for key, cell in rows.items()])
