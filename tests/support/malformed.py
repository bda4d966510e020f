"""Malformed image files, for tests of code that reads untrusted files."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.support import encoded_images

# First bytes of each file format.
MAGIC = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"BM",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"RIFF\xff\0\0\0WEBPVP8L",
    b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0",
)


def good_files():
    """Returns small valid files in every format."""
    photos = [
        encoded_images.encode(encoded_images.smooth(mode), "JPEG", progressive=steps)
        for mode in ("RGB", "L", "CMYK")
        for steps in (False, True)
    ]
    turned = [encoded_images.turned("JPEG", 6)]
    return [*photos, *turned, *(make() for make in encoded_images.LOSSLESS.values())]


def malformed_files(count, seed=0):
    """Returns `count` broken files, each damaged in one of six ways."""
    rng = np.random.default_rng(seed)
    good = good_files()
    ways = (_cut, _flip, _noise, _noise_after_magic, _huge, _zeros)
    files = []
    for i in range(count):
        files.append(ways[i % len(ways)](good[int(rng.integers(len(good)))], rng))
    return files


def bomb(side=30_000):
    """Returns a small PNG file with hundreds of black megapixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)  # one bit per pixel
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def animation(pictures=200, side=2000):
    """Returns a small GIF file whose frames decode to 4 MB each, or 16 MB as RGBA."""
    one = encoded_images.encode(Image.new("P", (side, side)), "GIF")
    start = 13 + 3 * 2 ** (one[10] % 8 + 1) if one[10] & 0x80 else 13
    return one[:start] + pictures * one[start:-1] + b";"


def _cut(file, rng):
    return file[: int(rng.integers(len(file)))]


def _flip(file, rng):
    """Changes some bytes, mostly near the beginning."""
    data = bytearray(file)
    for _ in range(int(rng.integers(1, 30))):
        place = int(len(data) * rng.random() ** 3)
        data[place] = int(rng.integers(256))
    return bytes(data)


def _noise(file, rng):
    return rng.bytes(int(rng.integers(1, 2000)))


def _noise_after_magic(file, rng):
    return MAGIC[int(rng.integers(len(MAGIC)))] + rng.bytes(int(rng.integers(1, 500)))


def _huge(file, rng):
    """Overwrites parts of the header, which holds sizes, with large numbers."""
    data = bytearray(file)
    number = int(rng.choice([0, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(4, 60))
        data[place : place + 4] = struct.pack(
            ">I" if rng.random() < 0.5 else "<I", number
        )
    return bytes(data)


def _zeros(file, rng):
    """Zeroes a random range, up to the complete file."""
    data = bytearray(file)
    start, end = sorted(int(n) for n in rng.integers(0, len(data) + 1, 2))
    data[start:end] = bytes(end - start)
    return bytes(data)
