"""Accuracy of every quantised TFLite format: photos, or networks trained on digits.

python -m benchmarks.quantization [--models=EfficientNetLite0] [--weights=imagenet]
    [--photos=examples/photos] [--crops=10] [--formats=...] [--output_dir=DIR]
python -m benchmarks.quantization --digits --models=EfficientNetV2B0,... [--epochs=20]

For comparison, TensorFlow's converter and litert-quantizer write int8 files of the
same network from the same images, the latter starting from our float32 file.

The formats of networks with published weights are calibrated on crops of eight photos
that come with scikit-image, scikit-learn and Matplotlib, and verified on crops of the
photos in a folder with a labels.csv, whose columns are `file` and `imagenet_classes`,
the indices of the correct classes. Photos without a correct class count for agreement
only. With --digits, each network is trained on the quickstart's digits, calibrated on
the images that the run sets aside, and compared on the test split.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import litert_quantizer
import numpy as np
import tensorflow as tf
from PIL import Image

from export.api import CALIBRATION_IMAGES, export_model
from export.formats.registry import FORMATS
from export.loading import CALIBRATION_SAMPLES
from export.runtimes.base import TFLiteRunner
from export.verify import VerificationError
from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.models import OpenedModel, open_model
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops
from keras_efficientnet.preprocessing.tf_files import read_batches
from training.configs import digits
from training.data import sources
from training.engine import trainer

# Package, and path of a photo in it.
CALIBRATION_PHOTOS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
TFLITE = [name for name in FORMATS if name.startswith("tflite")]
MIN_SIDE = 0.5  # smallest side of a crop, as a ratio to the photo's shorter side


def calibration_photos() -> list[Path]:
    """Returns the calibration photos in installed packages.

    Raises:
        ImportError: A package is not installed.
    """
    found = []
    for package, path in CALIBRATION_PHOTOS:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ImportError(
                f"{package} must be installed: pip install '.[train,photos]'"
            )
        found.append(Path(spec.origin).parent / path)
    return found


def random_crop(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """Returns a square crop of random size and position."""
    side = int(min(photo.size) * random.uniform(MIN_SIDE, 1))
    left, top = (int(random.integers(0, full - side + 1)) for full in photo.size)
    return photo.crop((left, top, left + side, top + side))


def write_crops(photos: list[Path], crops: int, folder: Path) -> None:
    """Writes random crops of each photo as PNG files, named after the photo."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for path in photos:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        for i in range(crops):
            random_crop(photo, random).save(folder / f"{path.stem}-{i:03}.png")


def read_correct_classes(photos: Path) -> dict[str, set[int]]:
    """Reads labels.csv: name of the photo -> indices of its correct classes."""
    rows = csv.DictReader((photos / "labels.csv").read_text().splitlines())
    return {
        Path(row["file"]).stem: {int(i) for i in row["imagenet_classes"].split()}
        for row in rows
    }


def export(model: str, formats: list[str], **options: Any) -> None:
    """Exports a model; keeps files that miss a threshold, to compare them too."""
    try:
        export_model(model, formats, calibration_images=CALIBRATION_IMAGES, **options)
    except VerificationError as error:
        print(f"missed: {error}")


def write_peers(
    model: keras.Model, images: np.ndarray, float32: Path, folder: Path
) -> dict[str, Path]:
    """Writes int8 files of the same network with other quantisers.

    Args:
        model: The network.
        images: Calibration images, preprocessed.
        float32: Our float32 file of the network.
        folder: Folder to write into.

    Returns:
        Name of the quantiser -> its file.
    """
    files = {
        "TFLiteConverter": folder / "converter.tflite",
        "litert-quantizer": folder / "quantizer.tflite",
    }
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    with quiet_stderr():
        files["TFLiteConverter"].write_bytes(converter.convert())
    quantizer = litert_quantizer.Quantizer(
        str(float32), litert_quantizer.recipe.static_wi8_ai8()
    )
    samples = [{"images": image[None]} for image in images]
    with quiet_stderr():  # progress bars and a report
        ranges = quantizer.calibrate({"serving_default": samples})
        content = quantizer.quantize(ranges).quantized_model
    files["litert-quantizer"].write_bytes(bytes(content))
    return files


def read_all(folder: Path, spec: EvalPreprocessing) -> tuple[list[Path], np.ndarray]:
    """Reads a folder of images with the preprocessing of evaluation.

    Returns:
        Paths; and images, (images, side, side, 3), float32, 0 to 255.
    """
    paths = [Path(path) for path in list_images(folder)]
    return paths, np.concatenate(list(read_batches(paths, spec)))


def read_digits(spec: EvalPreprocessing) -> tuple[np.ndarray, list[set[int]]]:
    """Returns the images of the digits' test split, and their classes."""
    split = sources.digits().splits["test"]
    images = [
        tf_ops.eval_image(split.read(tf.constant(i, tf.int64)), spec)
        for i in range(len(split))
    ]
    return np.stack(images), [{int(label)} for label in split.labels]


def score(
    predicted: np.ndarray, reference: np.ndarray, correct: Sequence[set[int]]
) -> tuple[float, float]:
    """Returns the agreement of top-1 classes with others, and their top-1 accuracy.

    Args:
        predicted: Top-1 class of each image, (images,), int.
        reference: Those of the float32 file.
        correct: Correct classes of each image; images without any count for agreement
            only.
    """
    pairs = zip(predicted, correct, strict=True)
    hits = [int(i) in classes for i, classes in pairs if classes]
    return float(np.mean(predicted == reference)), float(np.mean(hits))


def compare(
    files: dict[str, Path], images: np.ndarray, correct: list[set[int]]
) -> None:
    """Prints each file's agreement with the first one, and its top-1 accuracy.

    Args:
        files: Name -> TFLite file.
        images: Preprocessed images.
        correct: See `score`.
    """
    reference = None
    print(f"{len(images)} images; {sum(map(bool, correct))} with a correct class")
    for name, path in files.items():
        predicted = TFLiteRunner(path)(images).argmax(axis=1)
        reference = predicted if reference is None else reference
        agreement, top1 = score(predicted, reference, correct)
        print(f"{name:<17} agreement {agreement:6.1%}  top-1 {top1:6.1%}", flush=True)


def compare_with_peers(
    opened: OpenedModel,
    calibration: Path,
    made: Path,
    formats: list[str],
    images: np.ndarray,
    correct: list[set[int]],
) -> None:
    """Compares our files with those of the other quantisers.

    Args:
        opened: The exported network.
        calibration: Folder of calibration images.
        made: Folder of our files.
        formats: Formats to compare; the first is the float32 file.
        images: Preprocessed images.
        correct: Correct classes of each image.
    """
    # Files that missed a threshold end in ".failed".
    files = {key: next(made.glob(f"{FORMATS[key].artefact}*")) for key in formats}
    calibrated = read_all(calibration, opened.preprocessing)[1]
    with tempfile.TemporaryDirectory() as folder:
        files |= write_peers(opened.model, calibrated, files["tflite"], Path(folder))
        compare(files, images, correct)


def on_photos(
    model: str, formats: list[str], folder: Path, args: argparse.Namespace
) -> None:
    """Compares the formats of a network with published weights on crops of photos."""
    photos = calibration_photos()
    calibration, crops = folder / "calibration", folder / "crops"
    write_crops(photos, CALIBRATION_IMAGES // len(photos), calibration)
    classes = read_correct_classes(args.photos)
    write_crops([args.photos / f"{name}.jpg" for name in classes], args.crops, crops)
    options = {"calibration": calibration, "verify": crops}
    export(model, formats, weights=args.weights, output_dir=folder / "out", **options)
    opened = open_model(model, args.weights)
    paths, images = read_all(crops, opened.preprocessing)
    correct = [classes[path.stem.rsplit("-", 1)[0]] for path in paths]
    made = folder / "out"
    compare_with_peers(opened, calibration, made, formats, images, correct)


def on_digits(model: str, formats: list[str], folder: Path, epochs: float) -> None:
    """Trains a network on digits, and compares its formats on the test split."""
    config = dataclasses.replace(
        digits.get_config(),
        model=model,
        width=1.0,
        depth=1.0,
        lite=False,
        epochs=epochs,
    )
    run, made = folder / "run", folder / "out"
    trainer.train(config, run)
    export(str(run), formats, output_dir=made)
    opened = open_model(run)
    images, correct = read_digits(config.preprocessing)
    calibration = run / CALIBRATION_SAMPLES
    compare_with_peers(opened, calibration, made, formats, images, correct)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="EfficientNetLite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--photos", type=Path, default=Path("examples/photos"))
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--formats", default=",".join(TFLITE))
    parser.add_argument("--output_dir", type=Path)
    args = parser.parse_args()
    formats = list(dict.fromkeys(["tflite", *args.formats.split(",")]))
    with tempfile.TemporaryDirectory() as name:
        for model in args.models.split(","):
            folder = (args.output_dir or Path(name)) / model
            folder.mkdir(parents=True)
            print(model)
            if args.digits:
                on_digits(model, formats, folder, args.epochs)
            else:
                on_photos(model, formats, folder, args)


if __name__ == "__main__":
    main()
