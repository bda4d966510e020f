"""Files of a network for the contenders of `benchmarks.inference`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import keras_efficientnet
from benchmarks.input_pipeline import PHOTOS
from benchmarks.runtimes.contenders import FILES, PHOTO, SIZE
from export.formats import onnx, openvino, saved_model, tflite
from export.formats.export_inputs import ExportInputs
from export.quantization import calibration, recipes
from keras_efficientnet.common.sidecars import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    write_labels,
)
from keras_efficientnet.preprocessing import EvalPreprocessing

NETWORKS = {
    "b0": keras_efficientnet.EfficientNetB0,
    "lite0": keras_efficientnet.EfficientNetLite0,
}
_CLASSES = 1000


def prepare(network: str, folder: Path) -> None:
    """Writes the files of all contenders.

    Args:
        network: Key of `NETWORKS`.
        folder: Folder to create.
    """
    keras.utils.set_random_seed(0)
    folder.mkdir(parents=True)
    model = NETWORKS[network](weights=None)
    source = _source(model)
    model.save(folder / FILES["keras"])
    saved_model.write(source, folder / FILES["saved_model"])
    tflite.write_float32(source, folder / FILES["tflite"])
    write_int8(folder / FILES["tflite"], folder / FILES["tflite_int8"])
    onnx.write(source, folder / FILES["onnx"])
    openvino.write(source, folder / FILES["openvino"])
    if network == "b0":
        theirs = keras.applications.EfficientNetB0(weights=None)
        _export(theirs, folder / FILES["keras_litert"])
    write_labels(source.labels, folder / LABELS_FILE)
    (folder / PREPROCESSING_FILE).write_text(source.preprocessing_text)
    _write_photo(folder / PHOTO)


def time_conversions(network: str, count: int) -> dict[str, float]:
    """Converts a network to TFLite, by our exporter and by Keras in turn.

    Args:
        network: Key of `NETWORKS`.
        count: Number of conversions by each.

    Returns:
        Median seconds of both, and the median of the ratios.
    """
    model = NETWORKS[network](weights=None)
    source = _source(model)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        for _ in range(count):
            ours = _seconds(lambda: tflite.write_float32(source, path))
            theirs = _seconds(lambda: _export(model, path))
            pairs.append((ours, theirs))
    return {
        "seconds": round(statistics.median(ours for ours, _ in pairs), 2),
        "keras_seconds": round(statistics.median(theirs for _, theirs in pairs), 2),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _export(model: keras.Model, path: Path) -> None:
    model.export(str(path), format="litert", verbose=False)


def _source(model: keras.Model) -> ExportInputs:
    labels = tuple(map(str, range(_CLASSES)))
    return ExportInputs(model, SIZE, labels, EvalPreprocessing(SIZE))


def write_int8(float32: Path, int8: Path) -> None:
    """Quantises a .tflite file on noise, which affects neither its size nor speed."""
    content = float32.read_bytes()
    noise = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3))
    activations = calibration.collect_activations(content, [noise.astype(np.float32)])
    ranges = calibration.find_ranges(content, activations, 0.0)
    graph = recipes.apply_recipe(content, recipes.integer_recipe(8), ranges)
    recipes.use_uint8_io(graph)
    int8.write_bytes(graph.pack())


def _write_photo(path: Path) -> None:
    with Image.open(PHOTOS / "dog.jpg") as photo:
        photo.convert("RGB").resize((500, 375)).save(path, quality=90)
