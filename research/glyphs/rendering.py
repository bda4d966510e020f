"""Images of one character on a textured background."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .typefaces import draw_character

MAX_HEIGHT = 0.7  # of a character, as a ratio to the image's side
MIN_CONTRAST, MAX_CONTRAST = 30.0, 120.0  # grey levels between character and ground
MAX_ROTATION = 15.0  # degrees
_OVERSAMPLING = 2  # of the character before it is rotated


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """Difficulty of recognising the characters.

    Attributes:
        min_height: Smallest height of a character, as a ratio to the image's side.
        max_strokes: Maximum number of lines that belong to no character.
    """

    min_height: float = 0.07
    max_strokes: int = 6

    def __post_init__(self) -> None:
        if not 0 < self.min_height <= MAX_HEIGHT:
            raise ValueError(
                f"`min_height` must be above 0 and at most {MAX_HEIGHT}. "
                f"Received: min_height={self.min_height}"
            )
        if self.max_strokes < 0:
            raise ValueError(
                "`max_strokes` must not be negative. "
                f"Received: max_strokes={self.max_strokes}"
            )


def render(
    character: str,
    font: pathlib.Path,
    size: int,
    random: np.random.Generator,
    difficulty: Difficulty,
) -> np.ndarray:
    """Draws a character of random size, position, rotation, contrast and blur.

    Small and large characters are equally frequent on a logarithmic scale, so that
    every halving of the image's resolution makes more of them unreadable.

    Args:
        character: Character to draw.
        font: Path of the font file.
        size: Side of the image in pixels.
        random: Random number generator.
        difficulty: Smallest character and number of strokes.

    Returns:
        Grey image, (size, size), uint8.
    """
    ground = _texture(size, random)
    ground = _draw_strokes(ground, random, difficulty.max_strokes)
    glyph = _glyph(character, font, size, random, difficulty.min_height)
    mask = _place(glyph, size, random)
    contrast = random.uniform(MIN_CONTRAST, MAX_CONTRAST) * random.choice((-1, 1))
    level = ground[mask > 0].mean()
    # Away from the limits, so that the contrast is not clipped.
    if not 0 <= level + contrast <= 255:
        contrast = -contrast
    image = ground + mask * (level + contrast - ground)
    image += random.normal(0, random.uniform(0, 8), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def render_example(
    seed: tuple[int, ...],
    fonts: list[pathlib.Path],
    character: str,
    size: int,
    difficulty: Difficulty,
) -> np.ndarray:
    """Draws the image of a seed, always the same one.

    Args:
        seed: Non-negative numbers.
        fonts: Font files to choose from.
        character: Character to draw.
        size: Side of the image in pixels.
        difficulty: Smallest character and number of strokes.

    Returns:
        Grey image, (size, size), uint8.
    """
    random = np.random.default_rng(seed)
    font = fonts[int(random.integers(len(fonts)))]
    return render(character, font, size, random, difficulty)


def _texture(size: int, random: np.random.Generator) -> np.ndarray:
    """Returns noise with structure at every scale, (size, size), 0 to 255."""
    image = np.full((size, size), random.uniform(60, 195))
    cells = 2
    while cells <= size:
        amplitude = random.uniform(0, 14)
        noise = random.normal(0, amplitude, (cells, cells)).astype(np.float32)
        grown = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        image += np.asarray(grown)
        cells *= 2
    return np.clip(image, 0, 255)


def _draw_strokes(
    ground: np.ndarray, random: np.random.Generator, most: int
) -> np.ndarray:
    size = len(ground)
    canvas = Image.fromarray(ground.astype(np.float32))
    draw = ImageDraw.Draw(canvas)
    for _ in range(random.integers(most + 1)):
        start = random.uniform(0, size, 2)
        length = size * np.exp(random.uniform(np.log(0.03), np.log(0.4)))
        angle = random.uniform(0, 2 * np.pi)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        width = max(1, round(length * random.uniform(0.05, 0.25)))
        level = float(np.clip(ground.mean() + random.uniform(-100, 100), 0, 255))
        draw.line([*start, *end], fill=level, width=width)
    return np.asarray(canvas, np.float64)


def _glyph(
    character: str,
    font: pathlib.Path,
    size: int,
    random: np.random.Generator,
    min_height: float,
) -> Image.Image:
    """Returns the mask of a rotated character of random height."""
    low, high = np.log(min_height * size), np.log(MAX_HEIGHT * size)
    height = float(np.exp(random.uniform(low, high)))
    face = ImageFont.truetype(str(font), max(8, round(2 * _OVERSAMPLING * height)))
    drawn = draw_character(face, character)
    if drawn is None:
        raise ValueError(f"{font} must contain the character {character!r}.")
    scale = min(height / drawn.shape[0], MAX_HEIGHT * size / drawn.shape[1])
    sides = [max(1, round(_OVERSAMPLING * scale * side)) for side in drawn.shape[::-1]]
    mask = Image.fromarray(drawn).resize(sides, Image.Resampling.BOX)
    angle = random.uniform(-MAX_ROTATION, MAX_ROTATION)
    mask = mask.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    shrunk = [max(1, round(side / _OVERSAMPLING)) for side in mask.size]
    mask = mask.resize(shrunk, Image.Resampling.BOX)
    return mask.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))


def _place(mask: Image.Image, size: int, random: np.random.Generator) -> np.ndarray:
    """Returns the coverage of each pixel, 0 to 1, (size, size)."""
    canvas = Image.new("L", (size, size))
    left, top = (int(random.integers(0, max(1, size - side + 1))) for side in mask.size)
    canvas.paste(mask, (left, top))
    return np.asarray(canvas, np.float64) / 255
