"""Writes an int8 TFLite file for phones and classifies a photo with it.

python -m examples.phone_export PHOTOS PHOTO [--output_dir=exported]

PHOTOS is a folder of images for calibration and verification.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import export_model
from keras_efficientnet.augmentation import EvalCrop

SIZE = 224  # pixels


def main(photos: str, photo: str, output_dir: str) -> str:
    """Exports EfficientNet-Lite0 and returns its answer for a photo."""
    export_model(
        "EfficientNetLite0",
        ["tflite_int8"],
        calibration=photos,
        verify=photos,
        output_dir=output_dir,
    )
    folder = pathlib.Path(output_dir)
    interpreter = Interpreter(str(folder / "model_int8.tflite"))
    interpreter.allocate_tensors()
    (given,), (answer,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    pixels = np.clip(np.rint(EvalCrop(SIZE)(photo)), 0, 255).astype(np.uint8)
    interpreter.set_tensor(given["index"], pixels[None])
    interpreter.invoke()
    scores = interpreter.get_tensor(answer["index"])[0]
    labels = (folder / "labels.txt").read_text().splitlines()
    print(labels[scores.argmax()])
    return labels[scores.argmax()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("photo")
    parser.add_argument("--output_dir", default="exported")
    main(**vars(parser.parse_args()))
