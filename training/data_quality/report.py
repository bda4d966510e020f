"""Report of an inspection: a Markdown page, tables and pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from keras_efficientnet.common import markdown
from keras_efficientnet.common.files import write_csv, write_text
from keras_efficientnet.common.plain_text import printable

from ..reporting.plots import COLUMNS
from . import duplicates, label_errors
from .inspection import TRAIN, Inspection
from .pictures import Tile, draw_tiles

SHOWN_ROWS = 30  # of a table in the page; the CSV files hold all
SHOWN_TILES = 4 * COLUMNS

_BASIS = {
    True: (
        f"by the labels of the {label_errors.NEIGHBOURS} nearest other training images "
        "in the model's features. The model was trained on these labels and may have "
        "memorised some wrong ones, so this list is less reliable"
    ),
    False: "by the predictions of the model, which was not trained on them",
}


def write_report(found: Inspection, model: str, folder: pathlib.Path) -> None:
    """Writes report.md with its tables and pictures.

    Args:
        found: Result of `inspect_source`.
        model: Name of the model, for the page.
        folder: Folder of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = ", ".join(f"{len(s):,} of {name}" for name, s in found.splits.items())
    lines = [
        "# Data report",
        "",
        f"Images: {images}. Model: {markdown.code(model)}. Look at the pictures before "
        "you delete or relabel anything: the lists are suggestions.",
        "",
        *_on_labels(found, folder),
        *_on_duplicates(found, folder),
        *_on_classes(found, folder),
    ]
    write_text(folder / "report.md", "\n".join(lines) + "\n")


def _on_labels(found: Inspection, folder: pathlib.Path) -> list[str]:
    names = found.class_names
    lines = ["## Probably wrong labels", ""]
    rows = []
    # The list of training images is the least reliable one, and comes last.
    for split in sorted(found.suspects, key=lambda name: name == TRAIN):
        suspects = found.suspects[split]
        count = f"{len(suspects):,} of {len(found.splits[split]):,}"
        lines += [f"- **{split}**: {count}, {_BASIS[split == TRAIN]}.", ""]
        tiles = []
        for suspect in suspects:
            image = found.splits[split].names[suspect.position]
            rows.append(
                {
                    "split": split,
                    "image": printable(image),
                    "label": names[suspect.label],
                    "suggested": names[suspect.suggested],
                    "label_probability": f"{suspect.label_probability:.4f}",
                    "suggested_probability": f"{suspect.suggested_probability:.4f}",
                }
            )
            label, other = names[suspect.label], names[suspect.suggested]
            caption = (f"label: {label}", f"or {other}?")
            tiles.append(Tile(split, suspect.position, caption))
        lines += _picture(found, tiles, f"labels_{split}.png", folder)
    return [*lines, *_table(rows, "labels.csv", folder)]


def _on_duplicates(found: Inspection, folder: pathlib.Path) -> list[str]:
    rows, tiles = [], []
    for pair in found.pairs:
        row = {}
        for end, (split, position) in (("first", pair.first), ("second", pair.second)):
            part = found.splits[split]
            label = found.class_names[part.labels[position]]
            row[f"{end}_split"] = split
            row[f"{end}_image"] = printable(part.names[position])
            row[f"{end}_label"] = label
            tiles.append(Tile(split, position, (split, label)))
        row["correlation"] = f"{pair.correlation:.4f}"
        row["mirrored"] = "yes" if pair.is_mirrored else "no"
        rows.append(row)
    differing = sum(row["first_label"] != row["second_label"] for row in rows)
    side = duplicates.SIDE
    return [
        "## Near-duplicate images across splits",
        "",
        f"{len(rows):,} pairs, {differing:,} of them with different labels, whose "
        f"thumbnails of {side} x {side} pixels correlate by at least "
        f"{duplicates.THRESHOLD}, mirrored or not. Copies of training images make the "
        "scores of a split too high.",
        "",
        *_picture(found, tiles, "duplicates.png", folder),
        *_table(rows, "duplicates.csv", folder),
    ]


def _on_classes(found: Inspection, folder: pathlib.Path) -> list[str]:
    tiles: list[Tile | None] = []
    for confusion in found.confusions:
        label = found.class_names[confusion.label]
        answer = found.class_names[confusion.answer]
        row = [
            Tile(split, position, (label, f"seen as {answer}"))
            for split, position in confusion.places[:COLUMNS]
        ]
        tiles += [*row, *[None] * (COLUMNS - len(row))]
    shares = ("precision", "recall")
    rows = [
        {**row, **{share: f"{row[share]:.4f}" for share in shares}}
        for row in found.class_rows
    ]
    held_out = ", ".join(name for name in found.splits if name != TRAIN)
    return [
        "## Classes",
        "",
        f"Precision and recall on the held-out images ({held_out}), lowest recall "
        "first. The pictures show the most frequent confusions, one per row.",
        "",
        *_picture(found, tiles, "confusions.png", folder, most=len(tiles)),
        *_table(rows, "classes.csv", folder),
    ]


def _picture(
    found: Inspection,
    tiles: Sequence[Tile | None],
    name: str,
    folder: pathlib.Path,
    most: int = SHOWN_TILES,
) -> list[str]:
    path = folder / name
    path.unlink(missing_ok=True)  # of an earlier report
    if not tiles:
        return []
    draw_tiles(found.splits, tiles[:most], path)
    return [f"![{path.stem.replace('_', ' ')}]({name})", ""]


def _table(
    rows: Sequence[Mapping[str, object]], name: str, folder: pathlib.Path
) -> list[str]:
    path = folder / name
    path.unlink(missing_ok=True)
    if not rows:
        return ["None.", ""]
    write_csv(path, rows)
    shown = [
        {key: markdown.escape(cell) for key, cell in row.items()}
        for row in rows[:SHOWN_ROWS]
    ]
    rest = f" The first {SHOWN_ROWS} are:" if len(rows) > SHOWN_ROWS else ""
    return [f"All rows: [{name}]({name}).{rest}", "", markdown.table(shown), ""]
