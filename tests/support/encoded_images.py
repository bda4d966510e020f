"""Small image files in every supported format, encoded by Pillow."""

import io

import numpy as np
from PIL import Image, ImageOps

from tests.support.paths import PHOTOS

PHOTO = PHOTOS / "panda.jpg"
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
RGB = Image.fromarray(NOISE[..., :3])
# Largest difference between two decoders of a smooth JPEG, in pixel values:
# TensorFlow uses the fast inverse DCT.
JPEG_TOLERANCE = 4


def encode(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def smooth(mode="RGB"):
    return Image.open(PHOTO).convert("RGB").resize((60, 40)).convert(mode)


def by_pillow(encoded):
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def animated(form, **options):
    second = Image.fromarray(255 - NOISE[..., :3])
    return encode(RGB, form, save_all=True, append_images=[second], **options)


def turned(form, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(smooth(), form, exif=exif, **options)


LOSSLESS = {
    "png": lambda: encode(RGB, "PNG"),
    "grey png": lambda: encode(RGB.convert("L"), "PNG"),
    "black and white png": lambda: encode(RGB.convert("1"), "PNG"),
    "palette png": lambda: encode(RGB.convert("P"), "PNG"),
    "png with alpha": lambda: encode(Image.fromarray(NOISE), "PNG"),
    "grey png with alpha": lambda: encode(Image.fromarray(NOISE).convert("LA"), "PNG"),
    "turned png": lambda: turned("PNG", 6),
    "bmp": lambda: encode(RGB, "BMP"),
    "bmp with alpha": lambda: encode(Image.fromarray(NOISE), "BMP"),
    "grey bmp": lambda: encode(RGB.convert("L"), "BMP"),
    "palette bmp": lambda: encode(RGB.convert("P"), "BMP"),
    "black and white bmp": lambda: encode(RGB.convert("1"), "BMP"),
    "gif": lambda: encode(RGB.convert("P"), "GIF"),
    "gif with alpha": lambda: encode(Image.fromarray(NOISE), "GIF"),
    "animated gif": lambda: animated("GIF"),
    "webp": lambda: encode(RGB, "WEBP", lossless=True),
    "webp with alpha": lambda: encode(Image.fromarray(NOISE), "WEBP", lossless=True),
    "animated webp": lambda: animated("WEBP", lossless=True),
    "turned webp": lambda: turned("WEBP", 8, lossless=True),
}
# Decoded by Pillow, hence not in exported graphs.
TIFF = {
    "tiff": lambda: encode(RGB, "TIFF"),
    "compressed tiff": lambda: encode(RGB, "TIFF", compression="tiff_lzw"),
    "cmyk tiff": lambda: encode(RGB.convert("CMYK"), "TIFF"),
    "turned tiff": lambda: turned("TIFF", 6),
}
