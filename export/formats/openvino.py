"""Export to OpenVINO, in float32 and int8."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..extras import require_openvino
from ..quantization.targets import OPENVINO
from ..runtimes.embedded import (
    OPENVINO_LABELS,
    OPENVINO_PREPROCESSING,
    OPENVINO_SECTION,
)
from ..runtimes.onnx import XML_FILE
from . import onnx
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
    _save(model, source, path)
    return (_version_remark(openvino),)


def write_int8(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes OpenVINO's intermediate representation with int8 kernels.

    Inputs, outputs and runtime information are those of `write`. Activations between
    convolutions are uint8. As in `onnx.write_int8`, most kernels have 7 bits.

    Args:
        source: Network to export, with images to calibrate activation ranges on.
        path: Path of the folder.

    Returns:
        Remarks on the version of OpenVINO and on the parts in float32, if there are
        any.

    Raises:
        ImportError: OpenVINO or a package for ONNX is missing.
        ValueError: The network uses an operation that TFLite lacks, or there
            are no images.
    """
    openvino = require_openvino()
    content, remarks = onnx.quantize(source, OPENVINO)
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        file = Path(folder, "model.onnx")
        file.write_bytes(content)
        _save(openvino.convert_model(str(file)), source, path)
    return (_version_remark(openvino), *remarks)


def _save(model: Any, source: ExportInputs, path: Path) -> None:
    for key, value in _model_info(source).items():
        model.set_rt_info(value, [OPENVINO_SECTION, key])
    path.mkdir()
    save = require_openvino().save_model
    save(model, str(path / XML_FILE), compress_to_fp16=False)


def _version_remark(openvino: Any) -> str:
    return f"OpenVINO IR, written by {openvino.get_version().split('-')[0]}."


def _model_info(source: ExportInputs) -> dict[str, str]:
    return {
        "model_type": "Classification",
        "labels": " ".join("_".join(label.split()) for label in source.labels),
        OPENVINO_LABELS: json.dumps(source.labels),
        OPENVINO_PREPROCESSING: source.preprocessing_text,
    }
