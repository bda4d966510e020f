"""Folders of Fashion-MNIST with few labels, for Noisy Student.

python -m benchmarks.studies.fashion_folders DIR

Writes PNG files of 28 x 28 pixels: the first 500 training images to labelled/train, the
next 500 to labelled/validation, 6,000 more to unlabelled and the 10,000 test images to
labelled/test. Each class of labelled images has a folder, 0 to 9. The data set comes
from Debian's package `dataset-fashion-mnist`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.sources.mnist import FASHION_MNIST, read_idx

PARTS = {  # folder -> files, and the images to write
    "labelled/train": ("train", range(500)),
    "labelled/validation": ("train", range(500, 1000)),
    "unlabelled": ("train", range(1000, 7000)),
    "labelled/test": ("t10k", range(10_000)),
}


def write(source: Path, folder: Path) -> dict[str, int]:
    """Writes all folders; returns the number of images in each.

    Args:
        source: Folder with the four files of the data set.
        folder: Folder to write to.
    """
    arrays = {
        name: (
            read_idx(source, f"{name}-images-idx3-ubyte", 3),
            read_idx(source, f"{name}-labels-idx1-ubyte", 1),
        )
        for name in ("train", "t10k")
    }
    for part, (name, indices) in PARTS.items():
        _write_part(folder / part, *arrays[name], indices)
    return {part: len(indices) for part, (_, indices) in PARTS.items()}


def _write_part(
    folder: Path, images: np.ndarray, labels: np.ndarray, indices: Sequence[int]
) -> None:
    for i in indices:
        label = "" if folder.name == "unlabelled" else str(labels[i])
        path = folder / label / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    for part, count in write(FASHION_MNIST, parser.parse_args().folder).items():
        print(f"{part}: {count:,} images")


if __name__ == "__main__":
    main()
