"""A tiny run folder on real photos, and its export, shared by all tests."""

import contextlib
import functools
import io
import json

import keras
import numpy as np
from PIL import Image
from sklearn import datasets

import export
from export.formats.export_inputs import ExportInputs
from export.formats.registry import FORMATS
from keras_efficientnet.efficientnet import EfficientNet
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.numpy_ops import eval_image
from tests.support.shared import shared

LABELS = ("sky", "flower", "noise", "darkness")
SIZE = 32  # pixels
# Class -> (photo of scikit-learn, box that contains all crops).
PHOTOS = {
    "sky": ("china.jpg", (0, 0, 640, 140)),
    "flower": ("flower.jpg", (120, 60, 480, 380)),
}


def pictures(label, count, seed):
    """Returns uint8 images, (count, 40, 48, 3), of one of the four classes."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    if label == "noise":
        return rng.integers(0, 256, (count, 40, 48, 3), np.uint8)
    if label == "darkness":
        grey = rng.integers(10, 40, (count, 1, 1, 1), np.uint8)
        return grey + rng.integers(0, 12, (count, 40, 48, 3), np.uint8)
    name, (left, top, right, bottom) = PHOTOS[label]
    photo = Image.fromarray(datasets.load_sample_image(name))
    crops = []
    for _ in range(count):
        side = int(rng.integers(90, 140))
        x, y = rng.integers(left, right - side), rng.integers(top, bottom - side + 1)
        box = (int(x), int(y), int(x) + side, int(y) + side)
        crops.append(np.asarray(photo.resize((48, 40), box=box)))
    return np.stack(crops)


def source(model, calibration=()):
    """Returns the export inputs of a model with a static input shape."""
    size = model.inputs[0].shape[1]
    labels = tuple(str(i) for i in range(model.outputs[0].shape[-1]))
    spec = EvalPreprocessing(size, 1.0, "bilinear")
    return ExportInputs(model, size, labels, spec, calibration)


def small_classifier(inputs, end="softmax", outputs=4):
    """Returns the scores of a network of two layers for images from 0 to 255."""
    keras.utils.set_random_seed(1)
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.5)(x)
    kernel = keras.initializers.RandomNormal(stddev=1.5, seed=3)
    return keras.layers.Dense(outputs, end, kernel_initializer=kernel)(x)


def tiny_network(seed, **options):
    """Returns a network of random weights that do not amplify noise.

    Ordinary random weights do, so that no int8 copy of them could agree. Here all
    spatial kernels compute averages.
    """
    keras.utils.set_random_seed(seed)
    model = EfficientNet(
        0.5,
        0.3,
        SIZE,
        lite=True,
        classes=len(LABELS),
        bn_momentum=0.0,  # one training step adopts the batch's statistics
        **options,
    )
    average_in_space(model)
    return model


def average_in_space(model):
    """Makes all spatial kernels of a network compute averages."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([np.abs(np.array(layer.kernel.numpy()))])
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1):
            kernel = layer.kernel.numpy()
            kernel = kernel.mean((0, 1), keepdims=True) + 0 * kernel
            layer.set_weights([kernel, *layer.get_weights()[1:]])


@functools.cache
def fitted_network(seed=2):
    """Returns a network with real statistics and a least-squares classifier.

    Its features are random, which is enough to separate these classes, and takes
    seconds. Tests must not change it.
    """
    model = tiny_network(seed, dropout=0.0, drop_connect=0.0)
    fit(model, EvalPreprocessing(SIZE, 0.8), count=48)
    return model


def fit(model, spec, count):
    """Fits the statistics and the classifier of a network to `count` images per class.

    Its batch normalisation must have a momentum of 0.
    """
    images = [image for label in LABELS for image in pictures(label, count, seed=1)]
    images = np.stack([eval_image(image, spec) for image in images])
    model(images, training=True)
    pooled = keras.Model(model.input, model.get_layer("avg_pool").output)
    features = pooled(images, training=False).numpy()
    mean = features.mean(axis=0)
    features -= mean
    scores = np.repeat(8 * np.eye(len(LABELS)) - 2, count, axis=0)
    gram = features.T @ features + 1000 * np.eye(len(mean))
    kernel = np.linalg.solve(gram, features.T @ scores)
    model.get_layer("predictions").set_weights([kernel, 2 - mean @ kernel])


def write_pictures(folder, count, seed):
    """Writes `count` images per class into class folders."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for i, pixels in enumerate(pictures(label, count, seed)):
            Image.fromarray(pixels).save(folder / label / f"{i:02}.png")


@shared
def run_folder(folder):
    """Returns a run folder like one that training writes."""
    model = fitted_network()
    model.save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    spec = {"image_size": SIZE, "crop_ratio": 0.8, "interpolation": "bicubic_legacy"}
    (folder / "preprocessing.json").write_text(json.dumps(spec))
    write_pictures(folder / "samples" / "calibration", 8, seed=2)
    write_pictures(folder / "samples" / "verification", 12, seed=3)
    return folder


@shared
def exported(folder):
    """Exports the run in every format but "web", which needs npm.

    Prints nothing, because it runs in whichever test comes first.
    """
    del folder  # the artefacts go to the run folder
    with contextlib.redirect_stdout(io.StringIO()):
        return export.export_model(run_folder(), [*FORMATS.keys() - {"web"}])
