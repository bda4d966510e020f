"""Typefaces for rendered characters, found in font files."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# No I and O, which many typefaces draw like 1 and 0.
CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ234679"
FONT_SUFFIXES = (".ttf", ".otf", ".pfb")
# Fonts of symbols draw pictures instead of the characters, which would be mislabelled.
MIN_READABLE = 0.6
# Come with Matplotlib.
_REFERENCES = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")
_SIDE = 24  # pixels of the pictures that characters are compared in
_BLUR = 2.0  # pixels; so that strokes of different thickness match
_HEIGHT = 48  # pixels of the characters in them


@dataclasses.dataclass(frozen=True)
class Typeface:
    """Typeface, by the font file that represents it.

    Attributes:
        family: Name of the family.
        path: Path of the font file.
        readable: Share of the characters that resemble those of common typefaces.
    """

    family: str
    path: pathlib.Path
    readable: float


def find_typefaces(folders: Iterable[pathlib.Path]) -> list[Typeface]:
    """Finds the typefaces in folders of fonts, one font file per family.

    Families are left out if a character is missing or if too few characters resemble
    those of common typefaces, as in fonts of symbols.

    Args:
        folders: Folders to search, subfolders included.

    Returns:
        Typefaces sorted by family.

    Raises:
        FileNotFoundError: A folder does not exist.
    """
    families: dict[str, pathlib.Path] = {}
    for path in _font_files(folders):
        names = _names(path)
        if names is None:
            continue
        family, style = names
        is_regular = style.lower() in ("regular", "book", "roman", "normal", "medium")
        if is_regular or family not in families:
            families[family] = path
    references = [_pictures(font_manager.findfont(name)) for name in _REFERENCES]
    reference = np.concatenate([rows for rows in references if rows is not None])
    found = []
    for family, path in sorted(families.items()):
        readable = _readable(path, reference)
        if readable >= MIN_READABLE:
            found.append(Typeface(family, path, readable))
    return found


def split_typefaces(
    typefaces: Sequence[Typeface], shares: dict[str, float]
) -> dict[str, list[Typeface]]:
    """Divides typefaces among the splits, in random order by the family's first word.

    Relatives such as "Lato" and "Lato Light" therefore belong to the same split.

    Args:
        typefaces: Result of `find_typefaces`.
        shares: Name of a split -> its share; the shares add up to 1.

    Raises:
        ValueError: A split has no typeface.
    """
    words = sorted(
        {_first_word(typeface) for typeface in typefaces},
        key=lambda word: hashlib.sha256(word.encode()).digest(),
    )
    ends = np.cumsum(list(shares.values())) + 1e-6
    places = (np.arange(len(words)) + 0.5) / max(1, len(words))
    split_of = dict(zip(words, np.searchsorted(ends, places), strict=True))
    names = list(shares)
    found: dict[str, list[Typeface]] = {name: [] for name in names}
    for typeface in typefaces:
        found[names[split_of[_first_word(typeface)]]].append(typeface)
    empty = [name for name, members in found.items() if not members]
    if empty:
        raise ValueError(
            "`fonts` must have typefaces for every split; install more of them. "
            f"Received: {len(typefaces)} typefaces, none for {', '.join(empty)}"
        )
    return found


def _first_word(typeface: Typeface) -> str:
    return typeface.family.split()[0].lower()


def draw_character(font: Any, character: str) -> np.ndarray | None:
    """Draws a character.

    Args:
        font: Font of a size, from `ImageFont.truetype`.
        character: Character to draw.

    Returns:
        Coverage of each pixel, (height, width) uint8, without an empty border; None if
        the character is empty.
    """
    left, top, right, bottom = (int(v) for v in font.getbbox(character))
    size = (max(1, right - left + 4), max(1, bottom - top + 4))
    canvas = Image.new("L", size)
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), character, fill=255, font=font)
    box = canvas.getbbox()
    return None if box is None else np.asarray(canvas.crop(box))


def _font_files(folders: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"`fonts` must be folders of font files. Received: {folder}"
            )
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in FONT_SUFFIXES and path.is_file():
                yield path


def _names(path: pathlib.Path) -> tuple[str, str] | None:
    """Returns family and style; None if the file is not a font."""
    try:
        family, style = ImageFont.truetype(str(path), _HEIGHT).getname()
    except (OSError, ValueError):
        return None
    return (family, style or "") if family else None


def _readable(path: pathlib.Path, reference: np.ndarray) -> float:
    """Returns the share of characters whose nearest reference is the same character."""
    pictures = _pictures(path)
    if pictures is None:
        return 0.0
    nearest = (pictures @ reference.T).argmax(axis=1) % len(CHARACTERS)
    return float((nearest == np.arange(len(CHARACTERS))).mean())


def _pictures(path: pathlib.Path | str) -> np.ndarray | None:
    """Returns a normalised vector per character; None if one is missing."""
    try:
        font = ImageFont.truetype(str(path), _HEIGHT)
        missing = draw_character(font, "\uffff")
        rows = []
        for character in CHARACTERS:
            drawn = draw_character(font, character)
            if drawn is None or (
                missing is not None and np.array_equal(drawn, missing)
            ):
                return None
            square = Image.fromarray(drawn).resize((_SIDE, _SIDE))
            square = square.filter(ImageFilter.GaussianBlur(_BLUR))
            row = np.asarray(square, np.float64).ravel()
            row -= row.mean()
            rows.append(row / max(float(np.linalg.norm(row)), 1e-9))
    except (OSError, ValueError):
        return None
    return np.stack(rows)
