"""SavedModel: for TensorFlow Serving, and for every language TensorFlow speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_efficientnet.transfer import feature_extractor

from ..quiet import quiet_stderr
from ..serving.graph_decoding import MAX_PIXELS, read_images
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
    with quiet_stderr():
        tf.saved_model.save(module, str(path), signatures=signatures)
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
    top = min(TOP, len(source.labels))

    def has_more(start: tf.Tensor, *_: tf.TensorArray) -> tf.Tensor:
        return start < tf.size(encoded)

    def step(start: tf.Tensor, *rows: tf.TensorArray) -> tuple[Any, ...]:
        images, valid = read_images(
            encoded[start : start + CHUNK], source.preprocessing
        )
        scores, classes = tf.math.top_k(
            run(images)["probabilities"], top, index_type=tf.int64
        )
        good = valid[:, tf.newaxis]
        found = (tf.where(good, classes, -1), tf.where(good, scores, 0), valid)
        written = [
            row.write(start // CHUNK, part)
            for row, part in zip(rows, found, strict=True)
        ]
        return start + CHUNK, *written

    rows = [_rows(tf.int64, top), _rows(tf.float32, top), _rows(tf.bool)]
    _, *rows = tf.while_loop(has_more, step, [0, *rows], parallel_iterations=1)
    classes, scores, valid = (row.concat() for row in rows)
    names = tf.constant([*source.labels, ""])
    # Those of -1 are past the last class.
    labels = tf.gather(names, classes % tf.size(names, tf.int64))
    return {"classes": classes, "scores": scores, "labels": labels, "valid": valid}


def _rows(kind: tf.DType, *columns: int) -> tf.TensorArray:
    shape = (None, *columns)
    return tf.TensorArray(
        kind, 0, dynamic_size=True, infer_shape=False, element_shape=shape
    )
