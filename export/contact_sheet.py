"""Contact sheets: grids of captioned images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_efficientnet.common.files import replacing

SIDE = 176  # pixels, of each image
MARGIN = 8  # pixels
LINE = 16  # pixels, of caption text
FONT_SIZE = 12  # pixels
COLUMNS = 5
FRAME = 3  # pixels, around images with a wrong answer
WRONG = "#c00000"  # colour of wrong answers


@dataclasses.dataclass(frozen=True)
class Line:
    """Line of a caption.

    Attributes:
        text: Text of the line, cut to the width of an image.
        is_wrong: Whether it is a wrong answer, drawn in red.
    """

    text: str
    is_wrong: bool = False


def write_sheet(
    images: Sequence[np.ndarray], captions: Sequence[Sequence[Line]], path: Path
) -> None:
    """Writes a contact sheet; images with a wrong answer have a red frame.

    Args:
        images: Pixels, (side, side, 3) each, float32, about 0 to 255.
        captions: Lines of text under each image.
        path: Picture to write; its suffix determines the format.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    width = SIDE + MARGIN
    height = SIDE + MARGIN + LINE * max(len(lines) for lines in captions)
    sheet = Image.new(
        "RGB", (columns * width + MARGIN, rows * height + MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for i, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + i % columns * width
        top = MARGIN + i // columns * height
        sheet.paste(_thumbnail(image), (left, top))
        if any(line.is_wrong for line in lines):
            box = left - FRAME, top - FRAME, left + SIDE + FRAME - 1, top + SIDE - 1
            draw.rectangle(box, outline=WRONG, width=FRAME)
        for j, line in enumerate(lines):
            place = left, top + SIDE + j * LINE
            color = WRONG if line.is_wrong else "black"
            draw.text(place, _fit(line.text, font), fill=color, font=font)
    with replacing(path) as unfinished:
        sheet.save(unfinished)


def _thumbnail(image: np.ndarray) -> Image.Image:
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE))


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(text + "...") > SIDE:
        text = text[:-1]
    return text + "..."
