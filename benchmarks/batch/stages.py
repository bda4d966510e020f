"""Time per image of the stages of batch prediction, in a worker on one core.

python -m benchmarks.batch.stages [--networks=Lite0,B0] [--images=96]

The photos are those of `benchmarks.batch.throughput`. "read" ends with the resized
pixels, "network" is LiteRT alone, and "total" is a range of images from paths to rows.
The rest of the total is quantising, ranking the classes and making the rows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.batch.throughput import export_network, write_images
from keras_efficientnet.common.cli.processes import start_worker

_ROUNDS = 3  # of which the fastest counts
_RANGE = 32  # images


def time_ms(function: Callable[[], object], images: int) -> float:
    """Returns the least time of a function in several rounds, ms per image.

    Args:
        function: Function that processes all images.
        images: Number of images.
    """
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / images


def measure(model: Path, photos: Path, images: int, folder: Path) -> list[float]:
    """Measures a model on the first photos.

    Args:
        model: Path of a .tflite file.
        photos: Folder of the photos.
        images: Number of photos to classify.
        folder: New folder for the listing.

    Returns:
        Time of reading, of the network, and in total, ms per image.
    """
    from export.batch.classifier import open_classifier
    from export.batch.inputs import list_locations
    from export.batch.listing import write_listing
    from export.batch.options import ModelOptions
    from export.runtimes.base import open_tflite

    folder.mkdir()
    write_listing(list_locations(str(photos)), folder)
    classifier = open_classifier(ModelOptions(str(model)), folder)
    interpreter = open_tflite(model.read_bytes(), str(model))
    ranges = [(i, min(i + _RANGE, images)) for i in range(0, images, _RANGE)]
    return [
        time_ms(lambda: [classifier.decode(*found) for found in ranges], images),
        time_ms(lambda: [interpreter.invoke() for _ in range(images)], images),
        time_ms(lambda: [classifier(*found) for found in ranges], images),
    ]


def write_copy(run: Path) -> Path:
    """Writes the float32 copy of a run's model that batch prediction uses."""
    from export.batch.runtime import convert_copy
    from export.loading import load

    copy = run / "copy.tflite"
    reason = convert_copy(load(run), copy, ())
    if reason:
        raise RuntimeError(reason)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--networks", default="Lite0,B0")
    args = parser.parse_args()
    start_worker()
    print("| network | precision | read, ms | network, ms | total, ms |")
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name, "images")
        write_images(photos, args.images)
        for network in args.networks.split(","):
            run = Path(name, network)
            export_network(f"EfficientNet{network}", run, photos)
            models = {
                "float32": write_copy(run),
                "int8": run / "export" / "model_int8.tflite",
            }
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            for precision, model in models.items():
                folder = Path(name, f"{network}-{precision}")
                found = measure(model, photos, args.images, folder)
                cells = " | ".join(f"{ms:.1f}" for ms in found)
                print(f"| {network} | {precision} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
