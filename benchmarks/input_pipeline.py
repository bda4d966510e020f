"""Throughput of the input pipeline, against PyTorch's and plain JPEG decoding.

python -m benchmarks.input_pipeline [--photos=DIR] [--repeats=5] [--no_peer]

The input applies AutoAugment at 224 pixels, or --augment. Photos are written to a
temporary folder as JPEG files of 500 x 375 pixels, quality 90. "prepared" and "resized"
read the TFRecord files that training.prepare makes of them, the latter with
--resize=256. The contenders take turns in one process, so that changes in the machine's
speed affect all of them; the printed ratios are medians of the ratios per turn.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf
from PIL import Image

from benchmarks.peers import pillow_loader
from keras_efficientnet.preprocessing import EvalPreprocessing
from training.augment import transforms
from training.data import pipeline, sources
from training.prepare import Conversion, PrepareOptions, open_images, prepare

SIZE = (500, 375)  # width and height of the files, pixels
RESIZED = 256  # shorter side of resized files, pixels
PHOTOS = pathlib.Path(__file__).parents[1] / "examples" / "photos"


def write_photos(photos: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes a folder of two classes: each photo in full, and its central part.

    Args:
        photos: Folder of JPEG files.
        folder: Folder to write to.

    Returns:
        Paths of the files.
    """
    written = []
    for path in sorted(photos.glob("*.jpg")):
        with Image.open(path) as file:
            image = file.convert("RGB")
        width, height = image.size
        boxes = {
            "whole": (0, 0, width, height),
            "part": (width // 8, height // 8, width * 7 // 8, height * 7 // 8),
        }
        for name, box in boxes.items():
            (folder / name).mkdir(exist_ok=True)
            target = folder / name / path.name
            resized = image.resize(SIZE, Image.Resampling.BICUBIC, box)
            resized.save(target, quality=90)
            written.append(target)
    return written


def ours(
    data: str, *, images: int, batch_size: int, augment: str = "autoaugment"
) -> Iterable[Any]:
    """Returns the batches that training reads from a source."""
    source = sources.load(data)
    return pipeline.train_batches(
        source.split("train"),
        EvalPreprocessing(224),
        transforms.make_augmentation(augment),
        classes=len(source.class_names),
        batch_size=batch_size,
        seed=0,
        first_step=0,
        last_step=images // batch_size,
        strategy=tf.distribute.get_strategy(),
    )


def prepare_files(
    folder: pathlib.Path, output: pathlib.Path, resize: int | None
) -> str:
    """Writes a folder of images as TFRecord files and returns their source.

    Args:
        folder: Folder of the images.
        output: Folder of the files.
        resize: Largest shorter side, pixels, or None.
    """
    images = open_images(f"folder:{folder}", None, None, None)
    prepare(images, output, PrepareOptions(conversion=Conversion(resize)))
    return f"tfrecord:{output}"


def decoding(
    paths: list[pathlib.Path], *, images: int, batch_size: int
) -> Iterable[Any]:
    """Returns batches of one pixel per image: only decoding takes time."""
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    decoded = files.repeat().map(
        lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3)[0, 0],
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return decoded.batch(batch_size).take(images // batch_size).prefetch(2)


def images_per_second(batches: Iterable[Any], batch_size: int, warm_up: int) -> float:
    """Returns the rate over all batches but the first `warm_up` ones."""
    iterator: Iterator[Any] = iter(batches)
    for _ in range(warm_up):
        next(iterator)
    start, images = time.perf_counter(), 0
    for _ in iterator:
        images += batch_size
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=pathlib.Path, default=PHOTOS)
    parser.add_argument("--images", type=int, default=2560, help="images per turn")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--warm_up", type=int, default=8, help="untimed batches")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--augment", default="autoaugment")
    parser.add_argument("--no_peer", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name, "photos")
        folder.mkdir()
        paths = write_photos(args.photos, folder)
        prepared, resized = (
            prepare_files(folder, pathlib.Path(name, f"files-{resize}"), resize)
            for resize in (None, RESIZED)
        )
        size = {"images": args.images, "batch_size": args.batch_size}

        def read(data: str) -> Iterable[Any]:
            return ours(data, augment=args.augment, **size)

        turns: dict[str, Callable[[], Iterable[Any]]] = {
            "ours": lambda: read(f"folder:{folder}"),
            "prepared": lambda: read(prepared),
            "resized": lambda: read(resized),
            "decoding": lambda: decoding(paths, **size),
        }
        if not args.no_peer:
            turns["peer"] = lambda: pillow_loader.batches(
                paths, workers=args.workers, **size
            )
        rates: dict[str, list[float]] = {name: [] for name in turns}
        for i in range(args.repeats):
            for name, make in turns.items():
                rate = images_per_second(make(), args.batch_size, args.warm_up)
                rates[name].append(rate)
            turn = ", ".join(f"{name} {r[-1]:.0f}" for name, r in rates.items())
            print(f"turn {i + 1}, images/s: {turn}", flush=True)
    for name in [name for name in turns if name != "ours"]:
        pairs = zip(rates["ours"], rates[name], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"ours / {name}: {ratio:.2f}")


if __name__ == "__main__":
    main()
