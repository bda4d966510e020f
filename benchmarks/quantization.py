"""Accuracy of every quantised TFLite format on crops of labelled photos.

python -m benchmarks.quantization [--model=EfficientNetLite0] [--weights=imagenet]
    [--photos=examples/photos] [--crops=10] [--formats=...] [--output_dir=DIR]

For comparison, TensorFlow's converter and litert-quantizer write int8 files of the
same network from the same images, the latter starting from our float32 file.

The formats are calibrated on crops of eight photos that come with scikit-image,
scikit-learn and Matplotlib, and verified on crops of the photos in a folder with a
labels.csv, whose columns are `file` and `imagenet_classes`, the indices of the correct
classes. Photos without a correct class count for agreement only.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import tempfile
from pathlib import Path

import litert_quantizer
import numpy as np
import tensorflow as tf
from PIL import Image

from export.api import CALIBRATION_IMAGES, export_model
from export.formats.registry import FORMATS
from export.runtimes.base import TFLiteRunner
from export.verify import VerificationError
from keras_efficientnet import weights_info
from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.models import open_model
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import read_batches

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


def top1_accuracy(
    names: list[str], predicted: np.ndarray, correct: dict[str, set[int]]
) -> float:
    """Returns the top-1 accuracy over the images that have a correct class.

    Args:
        names: Name of each crop's photo.
        predicted: Most probable class of each crop.
        correct: Correct classes of each photo.
    """
    pairs = zip(names, predicted, strict=True)
    hits = [int(i) in correct[name] for name, i in pairs if correct[name]]
    return float(np.mean(hits))


def export(
    model: str,
    weights: str,
    formats: list[str],
    calibration: Path,
    crops: Path,
    output_dir: Path,
) -> None:
    """Exports a model; keeps files that miss a threshold, to compare them too."""
    try:
        export_model(
            model,
            formats,
            weights=weights,
            calibration=calibration,
            calibration_images=CALIBRATION_IMAGES,
            verify=crops,
            output_dir=output_dir,
        )
    except VerificationError as error:
        print(f"missed: {error}")


def write_peers(
    model: str, weights: str, calibration: Path, float32: Path, folder: Path
) -> dict[str, Path]:
    """Writes int8 files of the same network with other quantisers.

    Returns:
        Name of the quantiser -> its file.
    """
    opened = open_model(model, weights)
    images = read_all(calibration, opened.preprocessing)[1]
    files = {
        "TFLiteConverter": folder / "converter.tflite",
        "litert-quantizer": folder / "quantizer.tflite",
    }
    converter = tf.lite.TFLiteConverter.from_keras_model(opened.model)
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


def compare(files: dict[str, Path], model: str, crops: Path, photos: Path) -> None:
    """Prints each file's agreement with the first one, and its top-1 accuracy."""
    paths, images = read_all(crops, weights_info(model).preprocessing)
    names = [path.stem.rsplit("-", 1)[0] for path in paths]
    correct = read_correct_classes(photos)
    reference = None
    labelled = sum(bool(correct[name]) for name in names)
    print(f"{len(paths)} crops; {labelled} with a correct class")
    for name, path in files.items():
        predicted = TFLiteRunner(path)(images).argmax(axis=1)
        reference = predicted if reference is None else reference
        print(
            f"{name:<17} agreement {np.mean(predicted == reference):6.1%}  "
            f"top-1 {top1_accuracy(names, predicted, correct):6.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="EfficientNetLite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--photos", type=Path, default=Path("examples/photos"))
    parser.add_argument("--crops", type=int, default=10)
    parser.add_argument("--formats", default=",".join(TFLITE))
    parser.add_argument("--output_dir", type=Path)
    args = parser.parse_args()
    formats = list(dict.fromkeys(["tflite", *args.formats.split(",")]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = args.output_dir or folder / "export"
        photos = calibration_photos()
        write_crops(photos, CALIBRATION_IMAGES // len(photos), folder / "calibration")
        listed = [
            args.photos / f"{name}.jpg" for name in read_correct_classes(args.photos)
        ]
        write_crops(listed, args.crops, folder / "crops")
        calibration, crops = folder / "calibration", folder / "crops"
        export(args.model, args.weights, formats, calibration, crops, made)
        # Files that missed a threshold end in ".failed".
        files = {key: next(made.glob(f"{FORMATS[key].artefact}*")) for key in formats}
        files |= write_peers(
            args.model, args.weights, calibration, files["tflite"], folder
        )
        compare(files, args.model, crops, args.photos)


if __name__ == "__main__":
    main()
