"""Report of an export: table, report.json, report.md and pictures."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_efficientnet.common import markdown
from keras_efficientnet.common.files import replacing, write_text
from keras_efficientnet.common.image_classes import choose_balanced
from keras_efficientnet.common.image_csv import rarest_labels
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import read_image

from .artefacts.ranking import Ranking
from .artefacts.record import FASTEST_KEY, REPORT_JSON
from .artefacts.result import Result
from .contact_sheet import Line, write_sheet
from .loading import Loaded
from .verify import Comparison, Reference

REPORT_MD = "report.md"
PICTURE = "verification.png"
BARS = "artefacts.png"
MAX_PICTURES = 20  # images on the contact sheet
MIN_OVERLAP_CLASSES = 20  # with fewer classes, top-5 overlap says little
_BAR = "#005ab5"
_OTHER_CLASS = "top-1 class differs"
_RUN_SECTION = "\n## Artefacts\n"  # last section of a run's report


def format_table(results: Sequence[Result]) -> str:
    """Formats results as an aligned table, one line each."""
    rows = [_cells(result) for result in results]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def write_report(
    loaded: Loaded,
    reference: Reference,
    results: Sequence[Result],
    folder: Path,
    warnings: Sequence[str] = (),
    ranking: Ranking | None = None,
) -> None:
    """Writes report.json, report.md and their pictures.

    The contact sheet shows images on which an artefact's top-1 class differs from
    Keras', or a selection of all images if there are none, spread over the classes.
    Wrong answers are red.

    Args:
        loaded: Exported model.
        reference: Predictions of the Keras model for the verification images.
        results: Results, one per artefact.
        folder: Folder of the export.
        warnings: Reasons to doubt the verification, one sentence each.
        ranking: Ranking of the formats for servers, if it was requested.
    """
    summary: dict[str, Any] = {
        "model": loaded.name,
        "classes": len(loaded.labels),
        "preprocessing": dataclasses.asdict(loaded.preprocessing),
        "output_activation": loaded.output_activation,
        "temperature": loaded.temperature,
        "reject_threshold": loaded.reject_threshold,
        "unknown_rejected": reference.unknown_rejected,
        "verification_images": len(reference.paths),
        "warnings": list(warnings),
        "artefacts": [_as_json(result, reference, loaded.labels) for result in results],
    }
    if ranking is not None:
        summary[FASTEST_KEY] = ranking.as_json()
    text = json.dumps(summary, indent=2) + "\n"
    write_text(folder / REPORT_JSON, text)
    page = _markdown(loaded, reference, results, warnings, ranking)
    write_text(folder / REPORT_MD, page)
    _write_contact_sheet(loaded, reference, results, folder / PICTURE)
    draw_bars(results, folder / BARS)


def draw_bars(results: Sequence[Result], path: Path) -> None:
    """Draws bar charts of the artefacts' sizes and latencies.

    Args:
        results: Results, one per artefact.
        path: Path of the picture.
    """
    height = 1.0 + 0.36 * len(results)
    figure = Figure(figsize=(9, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [result.format for result in results]
    panels = (
        (left, "Size, MB", [r.megabytes for r in results]),
        (right, "One image on one thread, ms", [r.latency.median_ms for r in results]),
    )
    for axes, title, values in panels:
        bars = axes.barh(names, values, color=_BAR)
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.set_title(title, loc="left", fontsize="medium")
        axes.margins(x=0.15)
        axes.xaxis.set_visible(False)
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
    left.invert_yaxis()
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=110)


def link_from_run(run_folder: Path, results: Sequence[Result], folder: Path) -> None:
    """Appends a table of linked artefacts to the report of a training run.

    Args:
        run_folder: Folder of the run; unchanged if it has no report.md.
        results: Results, which replace those of an earlier export.
        folder: Folder of the artefacts.
    """
    report = run_folder / REPORT_MD
    if not report.is_file():
        return
    there = os.path.relpath(folder, run_folder).replace(os.sep, "/")
    lines = [
        "",
        f"Each was compared with the Keras model: [{there}/{REPORT_MD}]"
        f"({there}/{REPORT_MD}).",
        "",
        _table(results, lambda name: f"[{name}]({there}/{name})"),
        "",
    ]
    before = report.read_text(encoding="utf-8").partition(_RUN_SECTION)[0]
    text = before.rstrip("\n") + "\n" + _RUN_SECTION + "\n".join(lines)
    write_text(report, text)


def _table(results: Sequence[Result], link: Callable[[str], str] = str) -> str:
    """Formats results as a Markdown table."""
    rows = [_cells(result) for result in results]
    for row in rows:
        row["artefact"] = link(row["artefact"])
    return markdown.table(rows)


def _cells(result: Result) -> dict[str, str]:
    found = result.comparison
    extra = {}
    if found.classes >= MIN_OVERLAP_CLASSES:
        extra["top-5 overlap"] = _percent(found.top5_agreement)
    if found.unknown_rejected is not None:
        extra["others rejected"] = _percent(found.unknown_rejected)
    return {
        "artefact": result.path.name,
        "seconds": f"{result.seconds:.1f}",
        "MB": f"{result.megabytes:.2f}",
        "max difference": f"{found.max_difference:.1e}",
        **_accuracy(found),
        "agreement": _with_interval(found),
        **extra,
        "ms": f"{result.latency.median_ms:.2f}",
        "p95": f"{result.latency.p95_ms:.2f}",
        "verdict": "FAILED" if result.problems else "ok",
    }


def _accuracy(found: Comparison) -> dict[str, str]:
    if found.labels is None:
        return {
            "top-1 Keras": _percent(found.keras_top1),
            "top-1": _percent(found.top1),
        }
    return {
        "mAP Keras": _percent(found.labels.keras_map),
        "mAP": _percent(found.labels.map),
    }


def _with_interval(found: Comparison) -> str:
    low, high = found.agreement_interval
    return f"{found.agreement:.1%} ({low:.1%} to {high:.1%})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _as_json(
    result: Result, reference: Reference, labels: Sequence[str]
) -> dict[str, Any]:
    found = result.comparison
    return {
        "format": result.format,
        "artefact": result.path.name,
        "seconds": round(result.seconds, 3),
        "megabytes": round(result.megabytes, 6),
        "latency_ms": round(result.latency.median_ms, 4),
        "latency_p95_ms": round(result.latency.p95_ms, 4),
        "max_difference": found.max_difference,
        "keras_top1": found.keras_top1,
        "top1": found.top1,
        **_map_fields(found),
        "agreement": found.agreement,
        "agreement_interval": found.agreement_interval,
        "top5_agreement": found.top5_agreement,
        "unknown_rejected": found.unknown_rejected,
        "disagreements": [
            {
                "image": str(reference.paths[i]),
                "keras": _listed(reference.answer(i), labels),
                "artefact": _listed(found.answer(i), labels),
            }
            for i in found.disagreements
        ],
        "remarks": list(result.remarks),
        "problems": list(result.problems),
    }


def _crop(spec: EvalPreprocessing) -> str:
    if spec.crop_mode == "squash":
        return f"central {spec.crop_ratio:.4g} of each side, squashed to a square"
    return f"central crop of {spec.crop_ratio:.4g} of the shorter side"


def _map_fields(found: Comparison) -> dict[str, float | None]:
    if found.labels is None:
        return {}
    return {"keras_map": found.labels.keras_map, "map": found.labels.map}


def _markdown(
    loaded: Loaded,
    reference: Reference,
    results: Sequence[Result],
    warnings: Sequence[str],
    ranking: Ranking | None,
) -> str:
    spec = loaded.preprocessing
    overlap = ""
    if len(loaded.labels) >= MIN_OVERLAP_CLASSES:
        overlap = (
            " Top-5 overlap is the share of the Keras model's five most probable "
            "classes that are among the artefact's five, in any order."
        )
    lines = [
        f"# Export of {markdown.escape(loaded.name)}",
        "",
        f"{len(loaded.labels)} classes, images of {spec.image_size} x "
        f"{spec.image_size} pixels, {_crop(spec)}, {spec.interpolation} "
        f"interpolation. Compared with the Keras model on {len(reference.paths)} "
        f"images. {_on_agreement(reference)}, with its 95% interval.{overlap} "
        "Milliseconds are the median and the 95th percentile for one image on one "
        "thread.",
        "",
        *_on_calibration(loaded, reference),
        _table(results),
        "",
        *(f"- Warning: {warning}" for warning in warnings),
        *(f"- {r.path.name}: {problem}." for r in results for problem in r.problems),
        *(f"- {r.path.name}: {remark}" for r in results for remark in r.remarks),
        "",
        f"![Sizes and latencies]({BARS})",
    ]
    if ranking is not None:
        lines += ["", *ranking.as_markdown()]
    disagreements = [
        {
            "artefact": result.path.name,
            "image": markdown.escape(reference.paths[i]),
            "Keras' class": markdown.escape(
                _listed(reference.answer(i), loaded.labels)
            ),
            "artefact's class": markdown.escape(
                _listed(result.comparison.answer(i), loaded.labels)
            ),
        }
        for result in results
        for i in result.comparison.disagreements
    ]
    if disagreements:
        fault = "labels differ" if reference.thresholds is not None else _OTHER_CLASS
        lines += ["", f"Images whose {fault} from the Keras model's:", ""]
        lines.append(markdown.table(disagreements))
    lines += ["", f"![Verification images and predicted classes]({PICTURE})", ""]
    return "\n".join(lines)


def _on_calibration(loaded: Loaded, reference: Reference) -> list[str]:
    lines = []
    if loaded.temperature is not None:
        each = np.unique(np.round(loaded.temperature, 4))
        shown = f"{each[0]:g}" + (f" to {each[-1]:g}" if len(each) > 1 else "")
        lines.append(
            f"The probabilities are calibrated with temperature {shown}, which is "
            "folded into the classifier's weights."
        )
    if loaded.reject_threshold is not None:
        lines.append(
            "Images whose top prediction has a probability under "
            f"{loaded.reject_threshold:.4f} are not recognised."
        )
    if reference.unknown is not None:
        lines.append(
            f"The Keras model rejects {_percent(reference.unknown_rejected)} of "
            f"{len(reference.unknown.paths):,} images of other classes."
        )
    return [" ".join(lines), ""] if lines else []


def _on_agreement(reference: Reference) -> str:
    if reference.thresholds is None:
        return "Agreement is the share of images with the same top-1 class"
    return (
        "Agreement is 1 minus the number of labels that differ, divided by the number "
        "of labels that Keras predicts"
    )


def _listed(classes: Sequence[int], labels: Sequence[str]) -> str:
    return "|".join(labels[i] for i in classes)


def _write_contact_sheet(
    loaded: Loaded, reference: Reference, results: Sequence[Result], path: Path
) -> None:
    shown = _choose_images(reference, results)
    captions = [_caption(loaded.labels, reference, results, i) for i in shown]
    images = [read_image(reference.paths[i], loaded.preprocessing) for i in shown]
    write_sheet(images, captions, path)


def _choose_images(reference: Reference, results: Sequence[Result]) -> list[int]:
    """Chooses images of as many classes as possible, in the order of the classes.

    If artefacts disagree with Keras on some images, only these are candidates.
    """
    differing = sorted({i for r in results for i in r.comparison.disagreements})
    candidates = np.array(differing or range(len(reference.paths)))
    classes = reference.labels
    if reference.label_sets is not None:
        classes = rarest_labels(reference.label_sets)
    if classes is None:
        classes = reference.probabilities.argmax(axis=1)
    chosen = candidates[choose_balanced(classes[candidates], MAX_PICTURES)]
    return sorted(chosen.tolist(), key=lambda i: (classes[i], i))


def _caption(
    labels: Sequence[str], reference: Reference, results: Sequence[Result], index: int
) -> list[Line]:
    """Lists Keras' class, classes that differ from it, and the true one if needed."""
    true: tuple[int, ...] | None = None
    if reference.labels is not None:
        true = (int(reference.labels[index]),)
    elif reference.label_sets is not None:
        true = tuple(int(i) for i in np.flatnonzero(reference.label_sets[index]))
    answers = [("Keras", reference.answer(index))]
    answers += [
        (result.format, result.comparison.answer(index))
        for result in results
        if index in result.comparison.disagreements
    ]
    lines = [
        Line(f"{name}: {_listed(found, labels)}", true not in (None, found))
        for name, found in answers
    ]
    if any(line.is_wrong for line in lines) and true is not None:
        lines.append(Line(f"true: {_listed(true, labels)}"))
    return lines
