"""PyTorch's DataLoader over Pillow with AutoAugment, as in torchvision.

The peer of `input_pipeline`. Only `Photos` and `batches` import PyTorch.
"""

from __future__ import annotations

import math
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from keras_efficientnet.augmentation.policies import AUTOAUGMENT_V0

SIZE = 224  # pixels
AREA_RANGE = (0.08, 1.0)
ASPECT_RANGE = (3 / 4, 4 / 3)
ATTEMPTS = 10
GREY = (128, 128, 128)


class Photos:
    """Map-style data set of (image, label); images are float tensors, 0 to 1."""

    def __init__(self, paths: Sequence[pathlib.Path], length: int) -> None:
        self._paths = paths
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        import torch

        with Image.open(self._paths[index % len(self._paths)]) as file:
            image = file.convert("RGB")
        pixels = np.array(train_image(image))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        return tensor.to(torch.float32).div(255), 0


def batches(
    paths: Sequence[pathlib.Path], *, images: int, batch_size: int, workers: int
) -> Iterator[Any]:
    """Returns batches that worker processes load.

    Args:
        paths: Paths of image files, used in turn.
        images: Number of images to load.
        batch_size: Images per batch; an incomplete last batch is dropped.
        workers: Number of processes.

    Raises:
        ImportError: PyTorch is not installed.
    """
    try:
        from torch.utils.data import DataLoader
    except ImportError as error:
        raise ImportError(
            "The peer needs PyTorch for CPU: pip install torch==2.13.0, or skip it "
            "with --no_peer"
        ) from error
    loader = DataLoader(
        Photos(paths, images),
        batch_size=batch_size,
        num_workers=workers,
        drop_last=True,
        # The default, fork, is not safe in a process with TensorFlow's threads.
        multiprocessing_context="spawn",
    )
    return iter(loader)


def train_image(image: Image.Image) -> Image.Image:
    """Applies a random crop, a random flip and AutoAugment v0."""
    left, top, width, height = _find_box(*image.size)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for step in random.choice(AUTOAUGMENT_V0):
        if random.random() < step.probability:
            image = apply(image, step.op, step.level)
    return image


def apply(image: Image.Image, op: str, level: float) -> Image.Image:
    """Applies an operation of AutoAugment v0, with a random sign if it has one."""
    sign = random.choice((-1, 1))
    if op == "Rotate":
        return image.rotate(sign * level * 3, fillcolor=GREY)
    if op in ("ShearX", "ShearY", "TranslateY"):
        matrix = {
            "ShearX": (1, sign * level * 0.03, 0, 0, 1, 0),
            "ShearY": (1, 0, 0, sign * level * 0.03, 1, 0),
            "TranslateY": (1, 0, 0, 0, 1, sign * level * 25),
        }[op]
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, matrix, fillcolor=GREY)
    if op == "SolarizeAdd":
        more = int(level * 11)
        table = [min(v + more, 255) if v < 128 else v for v in range(256)]
        return image.point(table * 3)
    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Color": lambda: ImageEnhance.Color(image).enhance(level * 0.18 + 0.1),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Posterize": lambda: ImageOps.posterize(image, max(int(level * 0.4), 1)),
        "Solarize": lambda: ImageOps.solarize(image, int(level * 25.6)),
    }[op]()


def _find_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Draws (left, top, width, height) by the rule of `RandomResizedCrop`."""
    low, high = (math.log(ratio) for ratio in ASPECT_RANGE)
    for _ in range(ATTEMPTS):
        area = width * height * random.uniform(*AREA_RANGE)
        aspect = math.exp(random.uniform(low, high))
        columns, rows = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if columns <= width and rows <= height:
            left = random.randint(0, width - columns)
            return left, random.randint(0, height - rows), columns, rows
    return 0, 0, width, height
