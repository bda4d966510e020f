"""Grids of labelled images."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import tensorflow as tf
from matplotlib.figure import Figure

from keras_efficientnet.common.files import replacing
from keras_efficientnet.common.plain_text import literal
from keras_efficientnet.preprocessing import tf_ops

from ..data.sources import Split

COLUMNS = 8
_CAPTION = 20  # characters that fit above an image


@dataclasses.dataclass(frozen=True)
class Tile:
    """Image in a grid.

    Attributes:
        split: Name of its split.
        position: Position in the split.
        caption: Lines above the image.
    """

    split: str
    position: int
    caption: tuple[str, ...]


def draw_tiles(
    splits: Mapping[str, Split], tiles: Sequence[Tile | None], path: pathlib.Path
) -> None:
    """Draws images in rows of `COLUMNS`.

    Args:
        splits: Splits by name.
        tiles: Images, row by row; None leaves a place empty. At least one.
        path: Path of the PNG file.
    """
    rows = -(-len(tiles) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, tile in zip(grid, tiles, strict=False):
        if tile is None:
            continue
        image = splits[tile.split].read(tf.constant(tile.position, tf.int64))
        axes.imshow(tf_ops.pixels(image).numpy(), interpolation="nearest")
        axes.set_title("\n".join(map(_short, tile.caption)), fontsize=9)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)


def _short(text: str) -> str:
    return literal(text if len(text) <= _CAPTION else f"{text[: _CAPTION - 1]}…")
