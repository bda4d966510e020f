"""Export to SavedModel, with signatures for pixels, image files and features."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from keras_efficientnet.common.cli.quiet import quiet_stderr
from keras_efficientnet.common.output_activation import LINEAR
from keras_efficientnet.common.sidecars import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    write_labels,
)
from keras_efficientnet.preprocessing.tf_files import LUMA
from keras_efficientnet.transfer import feature_extractor

from ..runtimes.embedded import EXTRA_ASSETS
from ..serving.graph_decoding import MAX_PIXELS, read_images
from ..serving.warm_up import WARM_UP_FILE, write_warm_up
from ..transforms.fold_batch_norm import fold_batch_norm
from .export_inputs import ExportInputs

TOP = 5  # classes that `classify` returns; fewer if the network has fewer
# Bytes of weights that become constants: oneDNN reorders them once, instead of in each
# call, but every signature in use holds a copy.
MAX_CONSTANTS = 100_000_000
CHUNK = 8  # images in memory at once, regardless of the size of the request


def write(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a SavedModel that plain TensorFlow loads, without Keras.

    It has these signatures, for any batch size:

    `serving_default`: from `images`, (batch, height, width, channels), float32, 0 to
    255, to `probabilities`, (batch, classes), float32, or `logits`, if the network
    returns logits. `serving_uint8`: the same for uint8 pixels.

    `classify`, for networks of grey or RGB images: from `encoded`, (batch,), string,
    the bytes of image files, to `classes`, int64, `scores`, float32, the probabilities,
    and `labels`, string, (batch, `TOP`) each, in descending order of scores, and
    `valid`, (batch,), bool. Invalid image files get classes of -1, scores of 0 and
    empty labels.

    `features`, for networks of this package: from `images` as above to `features`,
    (batch, channels), float32, pooled over the image.

    The folder `assets.extra` has requests with which TensorFlow Serving warms up.

    Args:
        source: Network to export.
        path: Path of the folder.

    Returns:
        A remark on the signatures and the limit on image sizes.
    """
    if source.saved_model_version is not None:
        path = path / str(source.saved_model_version)
    network = _network(source.model, source.output_name)
    signatures = _signatures(source, network)
    module = tf.Module()
    if not _has_constants(network):
        # Keras' ExportArchive would write every weight twice.
        module.weights = [weight.value for weight in network.weights]
    # Frozen graphs cannot have gradients.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet_stderr():
        tf.saved_model.save(module, str(path), signatures, options)
    extra = path / EXTRA_ASSETS
    extra.mkdir()
    write_labels(source.labels, extra / LABELS_FILE)
    (extra / PREPROCESSING_FILE).write_text(source.preprocessing_text, "utf-8")
    inputs = {name: call.input_signature[0] for name, call in signatures.items()}
    write_warm_up(inputs, extra / WARM_UP_FILE)
    return (
        f"Signatures: {', '.join(signatures)}. "
        f"Images of over {MAX_PIXELS / 1e6:.0f} megapixels are refused.",
    )


def _signatures(source: ExportInputs, network: keras.Model) -> dict[str, Any]:
    shape = source.model.inputs[0].shape
    pixels = tf.TensorSpec(shape, tf.float32, name="images")
    colours = tf.TensorSpec(shape, tf.uint8, name="images")
    files = tf.TensorSpec((None,), tf.string, name="encoded")
    name = source.output_name
    # All signatures share one function in the file. TensorFlow computes only the
    # outputs that are requested.
    run = _function(lambda images: network(images, training=False), pixels)
    if _has_constants(network):
        run = _freeze(run, sorted(network.output))

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: run(tf.cast(images, tf.float32))[name]}

    signatures = {
        "serving_default": _function(serve, pixels),
        "serving_uint8": _function(serve, colours),
    }
    if source.channels in (1, 3):  # TensorFlow's decoders drop transparency

        def classify(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
            return _classify(encoded, lambda images: run(images)[name], source)

        signatures["classify"] = _function(classify, files)
    if "features" in network.output:
        features = _function(
            lambda images: {"features": run(images)["features"]}, pixels
        )
        signatures["features"] = features
    return signatures


def _network(model: keras.Model, name: str) -> keras.Model:
    """Returns a model with named outputs, including the features if it has any."""
    outputs = {name: model.output}
    # Only networks of this package have features.
    with contextlib.suppress(ValueError):
        outputs["features"] = feature_extractor(model).output
    return fold_batch_norm(keras.Model(model.input, outputs))


def _has_constants(network: keras.Model) -> bool:
    return 4 * network.count_params() <= MAX_CONSTANTS


def _freeze(run: Any, outputs: Sequence[str]) -> Callable[..., Any]:
    """Returns a function with constants in place of its variables.

    Args:
        run: TensorFlow function from images to a dict of outputs.
        outputs: Keys of the dict, sorted.
    """
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    return lambda images: dict(zip(outputs, frozen(images), strict=True))


def _function(call: Callable[..., Any], spec: tf.TensorSpec) -> Any:
    return tf.function(call, input_signature=[spec], autograph=False)


def _classify(
    encoded: tf.Tensor, run: Callable[..., Any], source: ExportInputs
) -> dict[str, tf.Tensor]:
    """Classifies image files in groups of `CHUNK`."""
    top = min(TOP, len(source.labels))

    def has_more(start: tf.Tensor, *_: tf.TensorArray) -> tf.Tensor:
        return start < tf.size(encoded)

    def step(start: tf.Tensor, *rows: tf.TensorArray) -> tuple[Any, ...]:
        images, valid = read_images(
            encoded[start : start + CHUNK], source.preprocessing
        )
        if source.channels == 1:
            images = tf.tensordot(images, tf.constant([LUMA]), [[3], [1]])
        scores, classes = tf.math.top_k(
            _probabilities(run(images), source), top, index_type=tf.int64
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
    # Classes of -1 wrap around to the last, empty name.
    labels = tf.gather(names, classes % tf.size(names, tf.int64))
    return {"classes": classes, "scores": scores, "labels": labels, "valid": valid}


def _probabilities(outputs: tf.Tensor, source: ExportInputs) -> tf.Tensor:
    """Implements `to_probabilities` in a graph."""
    is_linear = source.output_activation == LINEAR
    if outputs.shape[-1] == 1:
        second = tf.sigmoid(outputs) if is_linear else outputs
        return tf.concat([1 - second, second], axis=-1)
    return tf.nn.softmax(outputs) if is_linear else outputs


def _rows(kind: tf.DType, *columns: int) -> tf.TensorArray:
    shape = (None, *columns)
    return tf.TensorArray(
        kind, 0, dynamic_size=True, infer_shape=False, element_shape=shape
    )
