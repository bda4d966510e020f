"""Finds the photos most similar to one photo, by the features of a trained network.

python -m examples.nearest_neighbours PHOTO FOLDER [--count=5]

Runs on every Keras backend.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np

import keras_efficientnet
from keras_efficientnet.augmentation import EvalCrop

SIZE = 224  # pixels


def main(photo: str, folder: str, count: int) -> list[str]:
    """Prints and returns the paths of the most similar photos, the closest first."""
    paths = sorted(str(p) for p in pathlib.Path(folder).rglob("*.jpg"))
    model = keras_efficientnet.EfficientNetLite0(weights="imagenet")
    features = keras_efficientnet.feature_extractor(model)
    vectors = features.predict(EvalCrop(SIZE)([photo, *paths]), verbose=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarities = vectors[1:] @ vectors[0]  # cosine, -1 to 1
    nearest = np.argsort(-similarities)[:count]
    for i in nearest:
        print(f"{similarities[i]:.3f}  {paths[i]}")
    return [paths[i] for i in nearest]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=5)
    main(**vars(parser.parse_args()))
