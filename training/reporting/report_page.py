"""The report page of a finished run, report.md."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from keras_efficientnet.common import markdown
from keras_efficientnet.common.files import write_text
from keras_efficientnet.common.intervals import wilson_interval

from ..config import TrainConfig, load
from ..engine.phases import Phase
from .calibration_report import calibration_section
from .run_folder import RunFolder

SHOWN_BAD_IMAGES = 100  # names in the report
SHOWN_CLASSES = 100  # rows in the table of a multi-label run


def write_report(
    folder: RunFolder,
    config: TrainConfig,
    summary: dict[str, Any],
    *,
    run_phases: Sequence[Phase] = (),
    bad_images: Sequence[str] = (),
    class_rows: Sequence[dict[str, Any]] = (),
) -> None:
    """Writes report.md.

    Args:
        folder: Folder of the run; the report links its files.
        config: Configuration of the run.
        summary: Contents of summary.json.
        run_phases: Phases of the run; listed if there are several.
        bad_images: Names of images that could not be decoded.
        class_rows: Scores of each class of a multi-label run.
    """
    split = summary["final_split"]
    chosen_on = "minival" if config.minival else "validation"
    figures = {
        **_main_scores(summary),
        f"images of {split}": f"{summary['final_images']:,}",
        f"loss on {split}, without label smoothing": f"{summary['final_loss']:.4f}",
        **_best_score(summary, chosen_on),
        "at epoch": f"{summary['best_epoch']:g}" + _of_epochs(config),
        "trainable parameters": f"{summary['trainable_parameters']:,}",
        "steps": f"{summary['steps']:,}",
        "training time, s": summary["seconds"],
        "time to the first step, s": summary["seconds_to_first_step"],
    }
    files = {
        folder.model: "the model, with the averaged weights of the best epoch",
        folder.labels: "class names, in index order",
        folder.preprocessing: "preprocessing of evaluation images",
        folder.calibration: "temperature and rejection thresholds",
        folder.metrics: "metrics of every epoch",
        folder.config: "the configuration",
        folder.environment: "versions and devices",
        folder.samples: "images for calibrating and verifying exports",
        folder.tensorboard: "metrics for TensorBoard",
    }
    linked = [
        f"- [{path.name}]({path.name}): {what}"
        for path, what in files.items()
        if path.exists()
    ]
    lines = [
        f"# {config.variant} on {markdown.escape(config.data or 'arrays')}",
        "",
        _table("figure", "value", figures),
        "",
        "In brackets: the 95% confidence interval (Wilson).",
        "",
        _on_selection(config, split),
        "",
        *_on_phases(run_phases),
        *_on_bad_images(bad_images),
        *calibration_section(summary.get("calibration"), folder, split),
        *_picture("Loss, accuracy and learning rate by epoch", folder.curves),
        f"![Images with predictions]({folder.predictions.name})",
        "",
        *_on_classes(class_rows, folder.per_class),
        "## Files",
        "",
        *linked,
        "",
        *_on_configuration(config),
    ]
    write_text(folder.report, "\n".join(lines) + "\n")


def _on_configuration(config: TrainConfig) -> list[str]:
    """Lists the fields that differ from the recipe, and folds the others."""
    base, name = TrainConfig(), "the defaults"
    if config.recipe:
        # A recipe in a file may no longer exist.
        with contextlib.suppress(ValueError, TypeError, OSError, ImportError):
            base, name = load(config.recipe), f"the recipe {config.recipe}"
    usual = dataclasses.asdict(base)
    changed: dict[str, str] = {}
    others: dict[str, str] = {}
    for field, value in dataclasses.asdict(config).items():
        part = others if value == usual[field] else changed
        part[field] = markdown.code(repr(value))
    return [
        "## Configuration",
        "",
        f"Different from {markdown.escape(name)}:" if changed else "",
        "",
        *([_table("field", "value", changed), ""] if changed else []),
        f"<details><summary>As in {markdown.escape(name)}</summary>",
        "",
        _table("field", "value", others),
        "",
        "</details>",
    ]


def _picture(title: str, path: pathlib.Path) -> list[str]:
    return [f"![{title}]({path.name})", ""] if path.is_file() else []


def _main_scores(summary: dict[str, Any]) -> dict[str, str]:
    split = summary["final_split"]
    if "final_map" not in summary:
        return {
            f"top-1 on {split}": _share(summary, "final_top1"),
            f"top-5 on {split}": _share(summary, "final_top5"),
        }
    names = {"map": "mAP", "f1": "F1", "precision": "precision", "recall": "recall"}
    return {
        f"{name} on {split}": f"{summary[f'final_{key}']:.2%}"
        for key, name in names.items()
    } | {
        f"images of {split} with a label on top": _share(summary, "final_top1"),
    }


def _best_score(summary: dict[str, Any], chosen_on: str) -> dict[str, str]:
    if "best_validation_map" in summary:
        return {f"best {chosen_on} mAP": f"{summary['best_validation_map']:.2%}"}
    return {f"best {chosen_on} top-1": f"{summary['best_validation_top1']:.2%}"}


def _on_classes(rows: Sequence[dict[str, Any]], picture: pathlib.Path) -> list[str]:
    if not rows:
        return []
    shown = sorted(rows, key=lambda row: row["average_precision"])[:SHOWN_CLASSES]
    rest = len(rows) - len(shown)
    more = [f"The {rest:,} classes with a higher average precision are left out.", ""]
    table = [
        {
            "class": markdown.escape(row["class"]),
            "images": f"{row['images']:,}",
            "average precision": f"{row['average_precision']:.1%}",
            "threshold": f"{row['threshold']:.3f}",
            **{name: f"{row[name]:.1%}" for name in ("precision", "recall")},
            "F1": f"{row['f1']:.1%}",
        }
        for row in shown
    ]
    return [
        "## Classes",
        "",
        "An image gets every label whose probability reaches the threshold of the "
        "class, which has the highest F1 on the images that selected the epoch.",
        "",
        markdown.table(table),
        "",
        *(more if rest else []),
        *_picture("Average precision and F1 of the classes", picture),
    ]


def _share(summary: dict[str, Any], name: str) -> str:
    images = summary["final_images"]
    low, high = wilson_interval(round(summary[name] * images), images)
    return f"{summary[name]:.2%} ({low:.2%} to {high:.2%})"


def _on_selection(config: TrainConfig, split: str) -> str:
    if config.minival:
        return (
            "The weights are those of the best epoch on minival, "
            f"{config.minival:,} training images that were held out; {split} was "
            "scored once, at the end."
        )
    if split == "validation":
        return (
            "The weights are those of the best epoch on validation. There is no test "
            "split: the scores are on the images that selected the epoch, and slightly "
            "optimistic."
        )
    return (
        "The weights are those of the best epoch on validation; "
        f"{split} was scored once, at the end."
    )


def _on_phases(run_phases: Sequence[Phase]) -> list[str]:
    if len(run_phases) < 2:
        return []
    rows = {
        f"{phase.first_step + 1:,} to {phase.last_step:,}": phase.describe()
        for phase in run_phases
    }
    return ["## Phases", "", _table("steps", "trained", rows), ""]


def _on_bad_images(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    rest = len(names) - SHOWN_BAD_IMAGES
    more = [f"- and {rest:,} more"] if rest > 0 else []
    return [
        "## Images that could not be decoded",
        "",
        f"{len(names):,} images were left out:",
        "",
        *[f"- {markdown.code(name)}" for name in names[:SHOWN_BAD_IMAGES]],
        *more,
        "",
    ]


def _table(left: str, right: str, rows: dict[str, Any]) -> str:
    return markdown.table([{left: key, right: cell} for key, cell in rows.items()])


def _of_epochs(config: TrainConfig) -> str:
    # With `min_steps` there may be more epochs than the field says.
    return "" if config.min_steps else f" of {config.epochs:g}"
