"""SavedModel: for TensorFlow Serving, and for every language TensorFlow speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_efficientnet.transfer import feature_extractor

from .graph_decoding import MAX_PIXELS, read_images
from .quiet import quiet_stderr
from .source import Source

TOP = 5  # classes that `classify` tells; fewer when the network has fewer
CHUNK = 8  # images in memory at once, however many a request has


def write(source: Source, path: Path) -> tuple[str, ...]:
    """Writes a SavedModel that plain TensorFlow loads, without Keras.

    Its signatures, of any batch size each:

    `serving_default`: `images`, (batch, height, width, 3), float32, 0 to 255, to
    `probabilities`, (batch, classes), float32. `serving_uint8`: the same of uint8.

    `classify`: `encoded`, (batch,), string, the bytes of image files, to `classes`,
    int64, `scores`, float32, and `labels`, string, (batch, `TOP`) each, from the
    highest score down, and `valid`, (batch,), bool. What is no good image file gets
    classes of -1, scores of 0 and empty labels.

    `features`, if the network is one of this package: `images` as above to
    `features`, (batch, channels), float32, pooled over the image.

    Args:
        source: The network.
        path: Folder to make.

    Returns:
        A remark on the signatures and what they refuse.
    """
    model = source.model
    module = tf.Module()
    # Not Keras' ExportArchive: it writes every weight twice.
    module.weights = [weight.value for weight in model.weights]
    signatures = _signatures(source)
    # None of the gradients, which would take half of the time and of the file.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet_stderr():
        tf.saved_model.save(module, str(path), signatures=signatures, options=options)
    return (
        f"Signatures: {', '.join(signatures)}. "
        f"Images of over {MAX_PIXELS / 1e6:.0f} megapixels are refused.",
    )


def _signatures(source: Source) -> dict[str, Callable[..., Any]]:
    shape = source.model.inputs[0].shape
    pixels = tf.TensorSpec(shape, tf.float32, name="images")
    colours = tf.TensorSpec(shape, tf.uint8, name="images")
    files = tf.TensorSpec((None,), tf.string, name="encoded")
    network = _network(source.model)
    # One function in the file, whichever signatures call it. Of its two outputs,
    # TensorFlow computes the one that is asked for.
    run = _function(lambda images: network(images, training=False), pixels)

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": run(tf.cast(images, tf.float32))["probabilities"]}

    signatures = {
        "serving_default": _function(serve, pixels),
        "serving_uint8": _function(serve, colours),
        "classify": _function(lambda encoded: _classify(encoded, run, source), files),
    }
    if "features" in network.output:
        features = _function(
            lambda images: {"features": run(images)["features"]}, pixels
        )
        signatures["features"] = features
    return signatures


def _network(model: keras.Model) -> keras.Model:
    """Returns a model with named outputs, the features too where there are some."""
    outputs = {"probabilities": model.output}
    # Another network than ours has none.
    with contextlib.suppress(ValueError):
        outputs["features"] = feature_extractor(model).output
    return keras.Model(model.input, outputs)


def _function(call: Callable[..., Any], spec: tf.TensorSpec) -> Callable[..., Any]:
    return tf.function(call, input_signature=[spec], autograph=False)


def _classify(
    encoded: tf.Tensor, run: Callable[..., Any], source: Source
) -> dict[str, tf.Tensor]:
    """Classifies image files, `CHUNK` after `CHUNK`."""
    names = tf.constant([*source.labels, ""])
    top = min(TOP, len(source.labels))
    kinds = {"scores": tf.float32, "classes": tf.int64, "valid": tf.bool}

    def has_more(chunk: tf.Tensor, *_: tf.TensorArray) -> tf.Tensor:
        return chunk * CHUNK < tf.size(encoded)

    def step(
        chunk: tf.Tensor, *rows: tf.TensorArray
    ) -> tuple[tf.Tensor, *tuple[tf.TensorArray, ...]]:
        files = encoded[chunk * CHUNK : (chunk + 1) * CHUNK]
        images, valid = read_images(files, source.preprocessing)
        scores, classes = tf.math.top_k(
            run(images)["probabilities"], top, index_type=tf.int64
        )
        is_good = valid[:, tf.newaxis]
        found = (
            tf.where(is_good, scores, 0),
            tf.where(is_good, classes, -1),
            valid,
        )
        return chunk + 1, *(
            row.write(chunk, part) for row, part in zip(rows, found, strict=True)
        )

    rows = [
        tf.TensorArray(
            kind,
            0,
            dynamic_size=True,
            infer_shape=False,
            element_shape=(None,) if kind == tf.bool else (None, top),
        )
        for kind in kinds.values()
    ]
    _, *rows = tf.while_loop(has_more, step, [0, *rows], parallel_iterations=1)
    found = {key: row.concat() for key, row in zip(kinds, rows, strict=True)}
    # Past the last class for those of -1.
    places = found["classes"] % (len(source.labels) + 1)
    return found | {"labels": tf.gather(names, places)}
