"""Photos of two classes, and networks that guides and examples train in seconds."""

import dataclasses
import pathlib
import shutil

import keras_efficientnet
from tests.support.paths import PHOTOS


def write_photos():
    """Makes a folder of cats and dogs in the current folder; returns its name."""
    for name in ("cat", "dog"):
        folder = pathlib.Path("photos", name)
        folder.mkdir(parents=True)
        for i in range(8):
            shutil.copy(PHOTOS / f"{name}.jpg", folder / f"{i}.jpg")
    return "photos"


def tiny_network(weights=None, classes=1000):
    """Takes the place of `EfficientNetLite0`."""
    assert weights in (None, "imagenet")
    return keras_efficientnet.EfficientNet(
        *(0.25, 0.3, 32),
        lite=True,
        weights=None,
        classes=classes,
        name="EfficientNetLite0",
    )


def tiny_config(model, config, folder):
    """Takes the place of `training.fine_tune._config`."""
    del folder
    assert model == "EfficientNetLite0"
    size = {"model": "EfficientNet", "width": 0.25, "depth": 0.3, "image_size": 32}
    size["lite"] = True  # quicker to trace
    length = {"epochs": 1, "head_only_epochs": 0, "batch_size": 8, "export_samples": 4}
    return dataclasses.replace(config, weights=None, **size, **length)
