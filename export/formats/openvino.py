"""Export to OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..extras import require_openvino
from ..runtimes.embedded import (
    OPENVINO_LABELS,
    OPENVINO_PREPROCESSING,
    OPENVINO_SECTION,
)
from ..runtimes.onnx import XML_FILE
from .export_inputs import ExportInputs


def write(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes OpenVINO's intermediate representation in float32.

    The model takes `images`, (batch, image_size, image_size, channels), float32, 0 to
    255, of any batch size, and returns `probabilities`, (batch, classes), float32; or
    `logits`, if the network does. Its runtime information has the section `model_info`
    of OpenVINO's Model API, with the labels, in which underscores replace spaces;
    `class_names` has the original labels, as a JSON list.

    Args:
        source: Network to export.
        path: Path of the folder.

    Returns:
        A remark on the version of OpenVINO.

    Raises:
        ImportError: OpenVINO is missing.
    """
    openvino = require_openvino()
    shape = (None, source.image_size, source.image_size, source.channels)
    images = tf.TensorSpec(shape, tf.float32, name="images")

    # Keras' exporter does the same, but loses the names of tensors.
    @tf.function(input_signature=[images], autograph=False)
    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {source.output_name: source.model(images, training=False)}

    with quiet_stderr():
        model = openvino.convert_model(classify.get_concrete_function())
    for key, value in _model_info(source).items():
        model.set_rt_info(value, [OPENVINO_SECTION, key])
    path.mkdir()
    openvino.save_model(model, str(path / XML_FILE), compress_to_fp16=False)
    return (f"OpenVINO IR, written by {openvino.get_version().split('-')[0]}.",)


def _model_info(source: ExportInputs) -> dict[str, str]:
    return {
        "model_type": "Classification",
        "labels": " ".join("_".join(label.split()) for label in source.labels),
        OPENVINO_LABELS: json.dumps(source.labels),
        OPENVINO_PREPROCESSING: source.preprocessing_text,
    }
