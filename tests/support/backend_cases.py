"""Computations that must agree on every backend of Keras, with the same weights.

`python -m tests.support.backend_cases [CASE ...]` writes the results of this backend to
tests/data/backends.npz; the stored file is TensorFlow's.
"""

import functools
import math
import sys

import keras
import numpy as np

import keras_efficientnet
from keras_efficientnet import VARIANTS
from keras_efficientnet._compat import to_numpy
from tests.support.paths import DATA

GOLDEN = DATA / "backends.npz"
HUGE = "EfficientNetL2"  # 480 million weights: half a minute, 5 GB
TINY = (0.25, 0.3, 32)  # width, depth, resolution
ODD = (43, 37, 3)
STEPS, LEARNING_RATE = 3, 0.02


def fill(model):
    """Sets weights that keep features near 1 at any depth of the network."""
    random = np.random.RandomState(0)  # the same numbers in every version of NumPy
    for layer in model.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if isinstance(layer, keras.layers.BatchNormalization):
            gain = 0.2 if layer.name.endswith("project_bn") else 1.0
            middles = [gain, 0.0, 0.0, 1.0]  # gamma, beta, mean, variance
            spreads = [gain / 2, 0.5, 0.5, 0.5]
            values = [
                random.uniform(middle - spread, middle + spread, shape)
                for middle, spread, shape in zip(middles, spreads, shapes, strict=True)
            ]
        else:
            is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            values = [
                random.standard_normal(shape)
                * math.sqrt(2 / math.prod(shape[:2] if is_depthwise else shape[:-1]))
                for shape in shapes
            ]
        layer.set_weights(values)
    return model


def pixels(count, shape):
    """Returns images of smooth waves, 0 to 255."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] / 9
    waves = [np.sin(rows * (i + 1) + columns + i) for i in range(count)]
    return np.stack([np.stack([w, w * w, -w], axis=-1) for w in waves]) * 100 + 127


def answer(model, images):
    """Returns the model's outputs; compiled on JAX, where eager operations are slow."""
    if keras.backend.backend() == "jax":
        return model.predict(images, verbose=0)
    found = model(images)
    if isinstance(found, dict):
        return {name: to_numpy(value) for name, value in found.items()}
    return to_numpy(found)


def network(key):
    """Returns logits of a variant, for images with odd sides."""
    factory = getattr(keras_efficientnet, key)
    model = factory(
        weights=None, classes=10, classifier_activation=None, input_shape=ODD
    )
    return answer(fill(model), pixels(2, ODD))


# Of the later families the small ones; the large ones have the same kinds of blocks.
NETWORKS = [
    *(key for key, row in VARIANTS.items() if row.family == "v1"),
    *("EfficientNetV2B0", "EfficientNetV2B3", "EfficientNetV2S"),
    "EfficientNetEdgeTPUS",
]

# Name -> (options of a tiny network, sizes of images).
OPTIONS = {
    "open_sizes": ({"input_shape": (None, None, 3)}, [(32, 32), (43, 37), (65, 50)]),
    "symmetric": ({"padding": "symmetric", "input_shape": (43, 37, 3)}, [(43, 37)]),
    "lite": ({"lite": True, "input_shape": (43, 37, 3)}, [(43, 37)]),
    "v2": ({"family": "v2", "input_shape": (43, 37, 3)}, [(43, 37)]),
    "v2_symmetric": (
        {"family": "v2", "padding": "symmetric", "input_shape": (None, None, 3)},
        [(32, 32), (43, 37)],
    ),
    "edgetpu": ({"family": "edgetpu", "input_shape": (43, 37, 3)}, [(43, 37)]),
    "max": (
        {"include_top": False, "pooling": "max", "input_shape": (43, 37, 3)},
        [(43, 37)],
    ),
}


def options(name):
    """Returns scores of a tiny network, a row per image, for all image sizes."""
    arguments, sizes = OPTIONS[name]
    model = keras_efficientnet.EfficientNet(*TINY, classes=10, **arguments)
    fill(model)
    return np.concatenate([answer(model, pixels(2, size)) for size in sizes])


def features():
    """Returns channel means of each reduction level, concatenated."""
    model = keras_efficientnet.EfficientNet(
        *TINY, features=(1, 2, 3, 4, 5), input_shape=ODD
    )
    found = answer(fill(model), pixels(2, ODD))
    return np.concatenate(
        [np.asarray(to_numpy(found[name])).mean(axis=(1, 2)) for name in sorted(found)],
        1,
    )


def fit():
    """Returns the losses of three steps of `fit`, then the network's outputs."""
    model = keras_efficientnet.EfficientNet(
        *TINY, classes=10, dropout=0.0, drop_connect=0.0, input_shape=ODD
    )
    optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    images = pixels(8, ODD)
    fill(model)
    losses = [
        model.fit(images, np.arange(8), batch_size=8, verbose=0).history["loss"]
        for _ in range(STEPS)
    ]
    return np.concatenate([np.ravel(losses), np.ravel(answer(model, images))])


# Name -> function that computes the case.
CASES = {
    **{key: functools.partial(network, key) for key in NETWORKS},
    **{name: functools.partial(options, name) for name in OPTIONS},
    "features": features,
    "fit": fit,
}


if __name__ == "__main__":
    answers = dict(np.load(GOLDEN)) if GOLDEN.exists() else {}
    for name in sys.argv[1:] or CASES:
        answers[name] = np.asarray(CASES[name](), np.float32)
    np.savez_compressed(GOLDEN, **answers)
