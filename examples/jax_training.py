"""Trains a network on JAX, without TensorFlow, on images in NumPy arrays.

KERAS_BACKEND=jax python -m examples.jax_training [--epochs=5]

The digits of scikit-learn, 8 x 8 pixels, are enlarged to 32 pixels.
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_efficientnet
from keras_efficientnet.augmentation import EvalCrop
from keras_efficientnet.callbacks import ExponentialMovingAverage
from keras_efficientnet.optimizers import TF1RMSprop

SIZE = 32  # pixels


def main(epochs: int) -> float:
    """Trains on 1,500 digits and returns the top-1 on the other 297."""
    digits = load_digits()
    gray = np.repeat(digits.images[..., None] * (255 / 16), 3, axis=-1)
    images = EvalCrop(SIZE, crop_ratio=1.0)(gray.astype(np.float32))
    train, test = slice(1500), slice(1500, None)

    keras.utils.set_random_seed(0)
    model = keras_efficientnet.EfficientNet(
        0.25,
        0.3,
        SIZE,
        weights=None,
        classes=10,
        drop_connect=0.0,
        bn_momentum=0.9,  # for statistics that follow within a few epochs
    )
    model.compile(
        TF1RMSprop(0.005, l2=1e-5),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        images[train],
        digits.target[train],
        batch_size=50,
        epochs=epochs,
        callbacks=[ExponentialMovingAverage(0.95)],
    )
    _, top1 = model.evaluate(images[test], digits.target[test], verbose=0)
    print(f"{keras.backend.backend()}: top-1 {top1:.1%} of the held-out digits")
    return float(top1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    main(**vars(parser.parse_args()))
