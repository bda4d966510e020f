"""SavedModel: for TensorFlow Serving, and for every language TensorFlow speaks."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from .quiet import quiet_stderr
from .source import Source


def write(source: Source, path: Path) -> tuple[str, ...]:
    """Writes a SavedModel that plain TensorFlow loads, without Keras.

    Its signature `serving_default` takes `images`, (batch, height, width, 3),
    float32, 0 to 255, of any batch size, and returns `probabilities`, (batch,
    classes), float32.

    Args:
        source: The network.
        path: Folder to make.

    Returns:
        No remarks.
    """
    model = source.model
    images = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="images")

    @tf.function(input_signature=[images], autograph=False)
    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": model(images, training=False)}

    # Not Keras' ExportArchive: it writes every weight twice.
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    module.classify = classify
    with quiet_stderr():
        tf.saved_model.save(module, str(path), signatures={"serving_default": classify})
    return ()
