"""Grids of labelled images."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import tensorflow as tf

from keras_efficientnet.common.files import replacing
from keras_efficientnet.preprocessing import tf_ops

from ..data.sources import Split
from ..reporting.plots import TITLE_LENGTH, image_grid, short


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
    """Draws images in rows of `plots.COLUMNS`.

    Args:
        splits: Splits by name.
        tiles: Images, row by row; None leaves a place empty. At least one.
        path: Path of the PNG file.
    """
    figure, grid = image_grid(len(tiles), row_height=2.1, title_height=0.0)
    for axes, tile in itertools.zip_longest(grid, tiles):
        if tile is None:
            axes.remove()
            continue
        image = splits[tile.split].read(tf.constant(tile.position, tf.int64))
        axes.imshow(tf_ops.pixels(image).numpy(), interpolation="nearest")
        lines = [short(line, TITLE_LENGTH) for line in tile.caption]
        axes.set_title("\n".join(lines), fontsize=9)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100, bbox_inches="tight")
