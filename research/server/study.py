"""Accuracy on ImageNet's validation and test images (Table 8 of the paper)."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.common.intervals import Z_95
from keras_efficientnet.common.markdown import code, escape, table

from .. import paper_data
from ..options import option
from ..reporting import drawing
from ..reporting.folder import open_folder
from ..reporting.page import picture, write_page
from .answers import (
    TEST_IMAGES,
    VALIDATION_IMAGES,
    Accuracy,
    parse_answer,
    read_submission,
    read_truth,
    score,
)

TITLE = "Table 8: validation against test"
PAPER, HERE = "paper", "here"
_Read = TypeVar("_Read")


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Options of the comparison of validation and test accuracy."""

    validation: tuple[str, ...] = option(
        (),
        "NAME=FILE: scores.json that `training.evaluate` wrote for the validation "
        "images, or a file for the server made from them (needs --ground_truth).",
        is_setting=False,
    )
    test: tuple[str, ...] = option(
        (),
        "NAME=FILE: answer of the test server, saved as text.",
        is_setting=False,
    )
    submissions: tuple[str, ...] = option(
        (),
        "Files for the server to check, with a line per test image.",
        is_setting=False,
    )
    ground_truth: str = option(
        "",
        "ILSVRC2012_validation_ground_truth.txt of the development kit.",
        is_setting=False,
    )


OPTIONS = ServerOptions


@dataclasses.dataclass(frozen=True)
class ServerRow:
    """Accuracy of a network on both sets of images.

    Attributes:
        model: Name of the network.
        source: "paper" or "here".
        val_top1: Top-1 on the validation images, percent; None if it is not known.
        test_top1: Top-1 on the test images, percent; None if it is not known.
        val_top5: Top-5 on the validation images, percent; None if it is not known.
        test_top5: Top-5 on the test images, percent; None if it is not known.
    """

    model: str
    source: str
    val_top1: float | None
    test_top1: float | None
    val_top5: float | None
    test_top5: float | None


def run(options: ServerOptions, output_dir: pathlib.Path) -> None:
    """Compares validation with test accuracy, beside the paper's numbers.

    Args:
        options: Options of the study.
        output_dir: Folder to write into.

    Raises:
        ValueError: An option is malformed, or a file does not have the required form.
        OSError: A file cannot be read.
    """
    checked = [_check(pathlib.Path(name).expanduser()) for name in options.submissions]

    def read_validation(path: pathlib.Path) -> Accuracy:
        return _read_validation(path, options.ground_truth)

    validation = _read_named("validation", options.validation, read_validation)
    test = _read_named("test", options.test, _read_answer)
    found = [*_printed(), *_measured(validation, test)]
    with open_folder(output_dir, "server", options) as folder:
        rows = folder.rows(ServerRow, ("model", "source"))
        for row in found:
            rows.add(row)
        known = {(row.model, row.source) for row in found}
        shown = [row for row in rows.rows if (row.model, row.source) in known]
        _draw(shown, folder.root / "server.png")
        blocks = [
            *_describe(shown),
            picture("server.png", "Test minus validation accuracy"),
            *checked,
        ]
        files = {rows.path.name: "the accuracies", "server.png": "the figure"}
        write_page(folder, TITLE, blocks, files)


def difference(validation: float, test: float) -> tuple[float, float]:
    """Returns test minus validation accuracy, and half its 95% interval.

    The interval covers the random choice of both sets of images. It is slightly too
    wide, because it counts differences between the classes as chance.

    Args:
        validation: Accuracy on the 50,000 validation images, percent.
        test: Accuracy on the 100,000 test images, percent.

    Returns:
        Percentage points.

    Example:
        >>> [round(value, 2) for value in difference(77.11, 77.23)]
        [0.12, 0.45]
    """
    sizes = ((validation, VALIDATION_IMAGES), (test, TEST_IMAGES))
    variance = sum(share * (100 - share) / images for share, images in sizes)
    return test - validation, Z_95 * math.sqrt(variance)


def _read_named(
    option_name: str, texts: Sequence[str], read: Callable[[pathlib.Path], _Read]
) -> dict[str, _Read]:
    found: dict[str, _Read] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (equals and name and path) or name in found:
            raise ValueError(
                f"`{option_name}` must have entries NAME=FILE, each name once. "
                f"Received: {text!r}"
            )
        found[name] = read(pathlib.Path(path).expanduser())
    return found


def _read_validation(path: pathlib.Path, ground_truth: str) -> Accuracy:
    if path.suffix != ".json":
        if not ground_truth:
            raise ValueError(
                "`ground_truth` must be given to score a file of labels. "
                f"Received: {path}"
            )
        truth = read_truth(pathlib.Path(ground_truth).expanduser())
        return score(read_submission(path, len(truth)), truth)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Accuracy(float(values["top1"]), float(values["top5"]))
        images = int(values["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "`validation` must name files scores.json of `training.evaluate`. "
            f"Received: {path}: {error!r}"
        ) from error
    if images != VALIDATION_IMAGES:
        raise ValueError(
            f"`validation` must be scored on all {VALIDATION_IMAGES:,} images. "
            f"Received: {images:,} images in {path}"
        )
    return found


def _read_answer(path: pathlib.Path) -> Accuracy:
    try:
        return parse_answer(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check(path: pathlib.Path) -> str:
    labels = read_submission(path, TEST_IMAGES)
    return (
        f"{code(path.name)} has the form that the server needs: {len(labels):,} lines, "
        f"{int((labels > 0).sum()):,} labels."
    )


def _printed() -> Iterator[ServerRow]:
    for row in paper_data.read("table8_val_test"):
        values = {name: float(text) for name, text in row.items() if name != "model"}
        yield ServerRow(model=row["model"], source=PAPER, **values)


def _measured(
    validation: dict[str, Accuracy], test: dict[str, Accuracy]
) -> Iterator[ServerRow]:
    unknown = sorted(test.keys() - validation.keys())
    if unknown:
        raise ValueError(
            "`test` must have names of `validation`."
            f"{did_you_mean(unknown[0], validation)} Received: {unknown[0]!r}"
        )
    for name, here in validation.items():
        answer = test.get(name)
        yield ServerRow(
            model=name,
            source=HERE,
            val_top1=100 * here.top1,
            test_top1=None if answer is None else 100 * answer.top1,
            val_top5=100 * here.top5,
            test_top5=None if answer is None else 100 * answer.top5,
        )


def _differences(row: ServerRow) -> dict[str, tuple[float, float]]:
    pairs = {
        "top-1": (row.val_top1, row.test_top1),
        "top-5": (row.val_top5, row.test_top5),
    }
    return {
        name: difference(validation, test)
        for name, (validation, test) in pairs.items()
        if validation is not None and test is not None
    }


def _describe(rows: Sequence[ServerRow]) -> Iterator[str]:
    cells = []
    for row in rows:
        found = _differences(row)
        cells.append(
            {
                "network": escape(row.model),
                "source": row.source,
                **{
                    title: "" if value is None else f"{value:.2f}"
                    for title, value in (
                        ("validation top-1, %", row.val_top1),
                        ("test top-1, %", row.test_top1),
                        ("validation top-5, %", row.val_top5),
                        ("test top-5, %", row.test_top5),
                    )
                },
                **{
                    f"{name}, test minus validation": (
                        f"{found[name][0]:+.2f} ± {found[name][1]:.2f}"
                        if name in found
                        else ""
                    )
                    for name in ("top-1", "top-5")
                },
            }
        )
    yield table(cells)
    every = [values for row in rows for values in _differences(row).values()]
    beyond = sum(abs(value) > half for value, half in every)
    yield (
        "The differences have 95% intervals for the random choice of "
        f"{VALIDATION_IMAGES:,} and {TEST_IMAGES:,} images. {beyond} of the "
        f"{len(every)} differences are beyond their interval. Settings that were "
        "chosen on the validation images would make the validation accuracy the higher "
        "one."
    )


def _draw(rows: Sequence[ServerRow], path: pathlib.Path) -> None:
    shown = [row for row in rows if _differences(row)]
    figure = drawing.new_figure(9, 4)
    axes = figure.subplots()
    for i, name in enumerate(("top-1", "top-5")):
        values = [_differences(row)[name] for row in shown]
        axes.errorbar(
            [j + 0.16 * (i - 0.5) for j in range(len(shown))],
            [value for value, _ in values],
            yerr=[half for _, half in values],
            label=name,
            color=drawing.COLORS[i],
            marker=drawing.MARKERS[i],
            linestyle="none",
            capsize=3,
        )
    axes.axhline(0, color="0.5", linewidth=1)
    names = [f"{row.model.removeprefix('EfficientNet')}\n{row.source}" for row in shown]
    axes.set_xticks(range(len(shown)), names)
    title = "ImageNet: test minus validation accuracy, with 95% intervals"
    drawing.tidy(axes, title, "", "percentage points")
    axes.legend(frameon=False)
    drawing.save(figure, path)
