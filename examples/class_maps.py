"""Shows which parts of a photo support the network's answer.

python -m examples.class_maps PHOTO [--output=class_map.png]

Runs on every Keras backend.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import numpy as np

import keras_efficientnet
from keras_efficientnet.augmentation import EvalCrop
from keras_efficientnet.preprocessing import decode_predictions

SIZE = 224  # pixels


def main(photo: str, output: str) -> str:
    """Draws the class activation map over the photo; returns the class' name."""
    model = keras_efficientnet.EfficientNetLite0(weights="imagenet")
    image = EvalCrop(SIZE)(photo)
    scores = model.predict(image[None], verbose=0)
    _, name, score = decode_predictions(scores, top=1)[0][0]
    (activations,) = keras_efficientnet.class_maps(model, image[None])

    figure, axes = plt.subplots()
    axes.imshow(np.clip(image, 0, 255).astype(np.uint8))
    extent = (0, SIZE, SIZE, 0)
    shown = axes.imshow(
        activations, cmap="jet", alpha=0.4, extent=extent, interpolation="bilinear"
    )
    figure.colorbar(shown, label="contribution to the score")
    axes.set_title(f"{name}, {score:.0%}")
    axes.axis("off")
    figure.savefig(output)
    plt.close(figure)
    print(f"{output}: {name}, {score:.0%}")
    return str(name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("--output", default="class_map.png")
    main(**vars(parser.parse_args()))
