"""PyTorch inference with timm: DataLoader, channels_last, inference_mode.

The peer of `benchmarks.batch.throughput`, for an environment with timm. Prints the
images per second after the first batch.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
from typing import Any

import timm
import torch
from PIL import Image
from torchvision import transforms

_BATCH = 32  # images
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, 0 to 1


class Photos(torch.utils.data.Dataset):
    """Map-style data set of preprocessed JPEG files."""

    def __init__(self, folder: str, size: int) -> None:
        self._paths = sorted(pathlib.Path(folder).rglob("*.jpg"))
        self._prepare = transforms.Compose(
            [
                transforms.Resize(size + 32),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize(_MEAN, _STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        return self._prepare(Image.open(self._paths[index]).convert("RGB"))


def main() -> None:
    """Measures a timm network of the name, on the folder and size of `sys.argv`."""
    name, folder, size = sys.argv[1:]
    model = timm.create_model(name).eval().to(memory_format=torch.channels_last)
    workers = len(os.sched_getaffinity(0))
    loader = torch.utils.data.DataLoader(
        Photos(folder, int(size)), batch_size=_BATCH, num_workers=workers
    )
    start, images = None, 0
    with torch.inference_mode():
        for batch in loader:
            model(batch.to(memory_format=torch.channels_last))
            if start is None:
                start = time.perf_counter()
            else:
                images += len(batch)
    print(f"{images / (time.perf_counter() - (start or 0)):.2f} images/s")


if __name__ == "__main__":
    main()
