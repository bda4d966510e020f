"""Files of a network for the contenders of `benchmarks.inference`."""

from __future__ import annotations

import functools
import json
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
from export.formats import tflite
from export.formats.export_inputs import ExportInputs
from export.formats.registry import FORMATS
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
MISSING = "missing.json"  # contenders without a file, and why
_CLASSES = 1000
_CALIBRATION_IMAGES = 4


def prepare(network: str, folder: Path) -> None:
    """Writes the files of all contenders, and the reasons for missing ones.

    Args:
        network: Key of `NETWORKS`.
        folder: Folder to create.
    """
    keras.utils.set_random_seed(0)
    folder.mkdir(parents=True)
    model = NETWORKS[network](weights=None)
    source = _source(model)
    model.save(folder / FILES["keras"])
    missing = {}
    for name in filter(FORMATS.__contains__, FILES):
        try:
            FORMATS[name].write(source, folder / FILES[name])
        except ImportError as error:
            missing[name] = str(error)
    if network == "b0":
        theirs = keras.applications.EfficientNetB0(weights=None)
        _export(theirs, folder / FILES["keras_litert"])
    else:
        missing["keras_litert"] = "keras.applications does not have this network"
    (folder / MISSING).write_text(json.dumps(missing))
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
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        for _ in range(count):
            source = _source(model)  # a new one, because conversions are kept
            ours = _seconds(functools.partial(tflite.write_float32, source, path))
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
    # Calibration on noise affects neither the size nor the speed of int8 files.
    shape = (_CALIBRATION_IMAGES, SIZE, SIZE, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    return ExportInputs(model, SIZE, labels, EvalPreprocessing(SIZE), [noise])


def _write_photo(path: Path) -> None:
    with Image.open(PHOTOS / "dog.jpg") as photo:
        photo.convert("RGB").resize((500, 375)).save(path, quality=90)
