"""Keras' `model.predict` over `image_dataset_from_directory`, as its users write it.

The peer of `benchmarks.batch.throughput`. Prints the images per second after a warm-up.
"""

from __future__ import annotations

import sys
import time

import keras

import keras_efficientnet


def main() -> None:
    """Measures a network of the name, on the folder and at the size of `sys.argv`."""
    name, folder, size = sys.argv[1:]
    model = getattr(keras_efficientnet, name)(weights=None)
    images = keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        shuffle=False,
        image_size=(int(size), int(size)),
        verbose=False,
    )
    model.predict(images.take(1), verbose=0)
    start = time.perf_counter()
    found = model.predict(images, verbose=0)
    print(f"{len(found) / (time.perf_counter() - start):.2f} images/s")


if __name__ == "__main__":
    main()
