"""Writes a data set of rendered characters, on which resolution matters."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil
from concurrent import futures

import numpy as np
from PIL import Image

from keras_efficientnet.common.files import publish, replacing, write_csv
from keras_efficientnet.common.markdown import table
from keras_efficientnet.litert.interpreters import usable_processors

from ..options import option
from ..reporting.folder import StudyFolder, open_folder
from ..reporting.page import picture, write_page
from .rendering import MAX_HEIGHT, Difficulty, render_example
from .typefaces import CHARACTERS, Typeface, find_typefaces, split_typefaces

TITLE = "Rendered characters"
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}  # of the typefaces
IMAGES = "images"  # folder of the data set
_EXAMPLES = (4, 12)  # rows and columns of the picture
_CHUNK = 256  # images per task of a process


@dataclasses.dataclass(frozen=True)
class GlyphOptions:
    """Options of the data set."""

    fonts: tuple[str, ...] = option(
        ("/usr/share/fonts",), "Folders of font files (.ttf, .otf, .pfb)."
    )
    size: int = option(128, "Side of the images in pixels.")
    characters: str = option(CHARACTERS, "Characters to draw, one class each.")
    min_height: float = option(
        Difficulty.min_height,
        "Smallest height of a character, as a ratio to the image's side.",
    )
    max_strokes: int = option(
        Difficulty.max_strokes, "Maximum number of lines that belong to no character."
    )
    train_images: int = option(24_000, "Number of training images.")
    validation_images: int = option(3_000, "Number of validation images.")
    test_images: int = option(6_000, "Number of test images.")
    seed: int = option(0, "Random seed of the images.")
    processes: int = option(
        0, "Number of processes; 0: one per core.", is_setting=False
    )

    @property
    def difficulty(self) -> Difficulty:
        """Difficulty of recognising the characters."""
        return Difficulty(self.min_height, self.max_strokes)


OPTIONS = GlyphOptions


def run(options: GlyphOptions, output_dir: pathlib.Path) -> None:
    """Writes the data set, a picture of examples and the report.

    Args:
        options: Options of the data set.
        output_dir: Folder to write into; a finished data set is kept.

    Raises:
        ValueError: An option is invalid, the folder holds something else, or there are
            too few typefaces.
        FileNotFoundError: A folder of fonts does not exist.
    """
    counts = _counts(options)
    images = output_dir / IMAGES
    if images.is_dir():  # written last
        with open_folder(output_dir, "glyphs", options):
            return
    folders = [pathlib.Path(text).expanduser() for text in options.fonts]
    splits = split_typefaces(find_typefaces(folders), SHARES)
    with open_folder(output_dir, "glyphs", options) as folder:
        _write_typefaces(folder, splits)
        _write_examples(options, splits["test"], folder.root / "examples.png")
        rows = [
            {"split": name, "typefaces": len(splits[name]), "images": count}
            for name, count in counts.items()
        ]
        blocks = [
            f"One character on each image of {options.size} pixels; the classes are "
            f"the {len(options.characters)} characters `{options.characters}`. The "
            "splits share no typeface. Height, position, rotation, contrast, blur and "
            "background are random; the height is "
            f"{options.min_height:.0%} to {MAX_HEIGHT:.0%} of the image's, small and "
            f"large ones equally often, with up to {options.max_strokes} lines in the "
            "background.",
            table(rows),
            picture("examples.png", "Test images"),
            f"Train on it with `--config.data=folder:{images}`.",
        ]
        files = {
            IMAGES: "the images",
            "typefaces.csv": "the typeface files of each split",
        }
        write_page(folder, TITLE, blocks, files)
        _write_images(options, counts, splits, images)


def _counts(options: GlyphOptions) -> dict[str, int]:
    classes = len(options.characters)
    wrong = sorted(set(options.characters) - set(CHARACTERS))
    if wrong or not 2 <= classes == len(set(options.characters)):
        raise ValueError(
            f"`characters` must be at least two different ones of {CHARACTERS}. "
            f"Received: characters={options.characters!r}"
        )
    counts = {
        "train": options.train_images,
        "validation": options.validation_images,
        "test": options.test_images,
    }
    for name, count in counts.items():
        if count < classes:
            raise ValueError(
                f"`{name}_images` must be at least {classes}, one per class. "
                f"Received: {name}_images={count}"
            )
    if options.size < 16:
        raise ValueError(
            f"`size` must be at least 16 pixels. Received: size={options.size}"
        )
    _ = options.difficulty  # checks its fields
    return counts


def _write_images(
    options: GlyphOptions,
    counts: dict[str, int],
    splits: dict[str, list[Typeface]],
    folder: pathlib.Path,
) -> None:
    """Writes all images under another name, and renames the folder at the end."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    tasks = []
    for number, (name, count) in enumerate(counts.items()):
        for character in options.characters:
            (unfinished / name / character).mkdir(parents=True)
        fonts = [typeface.path for typeface in splits[name]]
        write = functools.partial(
            write_chunk, options, unfinished / name, number, fonts
        )
        starts = range(0, count, _CHUNK)
        tasks += [(write, range(i, min(i + _CHUNK, count))) for i in starts]
    processes = options.processes or usable_processors()
    with futures.ProcessPoolExecutor(processes) as pool:
        for done in [pool.submit(write, indices) for write, indices in tasks]:
            done.result()
    publish(unfinished, folder)


def write_chunk(
    options: GlyphOptions,
    folder: pathlib.Path,
    split: int,
    fonts: list[pathlib.Path],
    indices: range,
) -> None:
    """Writes some images of a split into their class folders.

    Args:
        options: Options of the data set.
        folder: Folder of the split.
        split: Number of the split.
        fonts: Font files of the split.
        indices: Indices of the images; the classes take turns.
    """
    for i in indices:
        character = options.characters[i % len(options.characters)]
        seed = (options.seed, split, i)
        pixels = render_example(
            seed, fonts, character, options.size, options.difficulty
        )
        path = folder / character / f"{i:06}.png"
        Image.fromarray(pixels).save(path, compress_level=1)


def _write_typefaces(folder: StudyFolder, splits: dict[str, list[Typeface]]) -> None:
    rows = [
        {
            "split": name,
            "family": typeface.family,
            "file": typeface.path.name,
            "readable": f"{typeface.readable:.3f}",
        }
        for name, members in splits.items()
        for typeface in members
    ]
    write_csv(folder.root / "typefaces.csv", rows)


def _write_examples(
    options: GlyphOptions, typefaces: list[Typeface], path: pathlib.Path
) -> None:
    fonts = [typeface.path for typeface in typefaces]
    rows, columns = _EXAMPLES
    images = [
        render_example(
            (options.seed, 2, i),
            fonts,
            options.characters[i % len(options.characters)],
            options.size,
            options.difficulty,
        )
        for i in range(rows * columns)
    ]
    lines = [np.hstack(images[i : i + columns]) for i in range(0, len(images), columns)]
    with replacing(path) as unfinished:
        Image.fromarray(np.vstack(lines)).save(unfinished)
