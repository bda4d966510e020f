"""Export to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..extras import require_package
from ..runtimes.embedded import ONNX_LABELS, ONNX_PREPROCESSING
from .export_inputs import ExportInputs

# Opset of 2021, supported by ONNX Runtime since 1.10; the networks need nothing newer.
OPSET = 15
_EXTRA = "onnx"


def write(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes an .onnx file in float32.

    The model takes `images`, (batch, image_size, image_size, channels), float32, 0 to
    255, of any batch size, and returns `probabilities`, (batch, classes), float32; or
    `logits`, if the network does. Its metadata has the `labels`, one per line, and the
    `preprocessing`, in JSON.

    Args:
        source: Network to export.
        path: Path of the file.

    Returns:
        A remark on the opset.

    Raises:
        ImportError: A required package is missing.
    """
    onnx = require_package("onnx", _EXTRA)
    require_package("tf2onnx", _EXTRA)
    shape = (None, source.image_size, source.image_size, source.channels)
    images = tf.TensorSpec(shape, tf.float32, name="images")
    with quiet_stderr(), warnings.catch_warnings():
        # Keras' exporter looks up a type that only NumPy 1 has.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        source.model.export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=[images],
            opset_version=OPSET,
        )
    model = onnx.load(str(path))
    _name_tensors(model.graph, source.output_name)
    onnx.helper.set_model_props(model, _metadata(source))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return (f"ONNX opset {OPSET}, IR version {model.ir_version}.",)


def _name_tensors(graph: Any, output_name: str) -> None:
    # Keras' exporter uses the input's name, but generates those of the output and of
    # the batch dimension.
    (images,), (output,) = graph.input, graph.output
    for node in graph.node:
        node.output[:] = [
            output_name if name == output.name else name for name in node.output
        ]
    output.name = output_name
    for tensor in (images, output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"


def _metadata(source: ExportInputs) -> dict[str, str]:
    return {
        ONNX_LABELS: source.labels_text.removesuffix("\n"),
        ONNX_PREPROCESSING: source.preprocessing_text,
    }
