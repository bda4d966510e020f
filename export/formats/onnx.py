"""Export to ONNX, in float32 and int8."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..extras import require_package
from ..quantization.onnx_network import prepare_network
from ..quantization.qdq import FloatNetwork, Placement
from ..quantization.selective import search_int8
from ..quantization.targets import ONNX_RUNTIME, onnx_target
from ..runtimes.embedded import ONNX_LABELS, ONNX_PREPROCESSING
from ..transforms.fold_batch_norm import fold_batch_norm
from ..transforms.placeholders import large_kernels
from . import tflite
from .export_inputs import ExportInputs, once_per_network

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
    network = fold_batch_norm(source.model, tensorflow_layers=False)
    kernels = {f"kernel_{i}": k for i, k in enumerate(large_kernels(network))}
    shape = (None, source.image_size, source.image_size, source.channels)
    inputs = [
        tf.TensorSpec(shape, tf.float32, name="images"),
        *(tf.TensorSpec(k.shape, tf.float32, name=name) for name, k in kernels.items()),
    ]
    with quiet_stderr(), warnings.catch_warnings():
        # Keras' exporter looks up a type that only NumPy 1 has.
        warnings.filterwarnings("ignore", "In the future `np.object`", FutureWarning)
        _WithKernels(network, [*kernels.values()]).export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=[inputs],
            opset_version=OPSET,
        )
    model = onnx.load(str(path))
    _fill_in(model.graph, kernels)
    _name_tensors(model.graph, source.output_name)
    onnx.helper.set_model_props(model, _metadata(source))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return (_opset_remark(model),)


def write_int8(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes an .onnx file with int8 kernels and uint8 activations, in QDQ form.

    Inputs, outputs and metadata are those of `write`. The answers are the same on all
    processors: kernels of convolutions over several channels have 7 bits, so that sums
    do not saturate on x86 without VNNI.

    Args:
        source: Network to export, with images to calibrate activation ranges on.
        path: Path of the file.

    Returns:
        Remarks on the opset and on the parts in float32, if there are any.

    Raises:
        ImportError: A required package is missing.
        ValueError: The network uses an operation that TFLite lacks, or there
            are no images.
    """
    onnx = require_package("onnx", _EXTRA)
    content, remarks = quantize(source, ONNX_RUNTIME)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return (_opset_remark(model), *remarks)


def quantize(
    source: ExportInputs, placement: Placement
) -> tuple[bytes, tuple[str, ...]]:
    """Quantises a network with the ranges and kernels of our TFLite files.

    Args:
        source: Network to export, with images to calibrate activation ranges on.
        placement: Operations that the runtime computes in integers.

    Returns:
        Content of an .onnx file, and a remark on the parts in float32, if there are
        any.
    """
    require_package("onnx", _EXTRA)
    require_package("onnxruntime", _EXTRA)
    content, seen = tflite.calibrate(source)
    return search_int8(content, seen, onnx_target(_float_network(source), placement))


@once_per_network
def _float_network(source: ExportInputs) -> FloatNetwork:
    content, seen = tflite.calibrate(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        write(source, path)
        return prepare_network(path.read_bytes(), content, seen.images[0])


class _WithKernels(keras.Model):
    """Network whose large kernels are inputs, so that tf2onnx does not copy them.

    Args:
        network: Keras network.
        kernels: Kernels of it.
    """

    def __init__(self, network: keras.Model, kernels: Sequence[keras.Variable]) -> None:
        super().__init__(name=network.name)
        self._network, self._kernels = network, kernels
        self.built = True

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        images, *values = inputs
        with keras.StatelessScope(zip(self._kernels, values, strict=True)):
            given = keras.tree.map_structure(lambda _: images, self._network.input)
            # Without the network's name in front of those of the operations.
            return self._network.call(given, training=False)


def _fill_in(graph: Any, kernels: Mapping[str, keras.Variable]) -> None:
    """Replaces the inputs that stand for kernels with initializers.

    A transposition that follows is done here.
    """
    onnx = require_package("onnx", _EXTRA)
    for tensor in list(graph.input):
        kernel = kernels.get(tensor.name)
        if kernel is None:
            continue
        graph.input.remove(tensor)
        values, name = np.asarray(kernel, np.float32), tensor.name
        readers = [node for node in graph.node if name in node.input]
        if [node.op_type for node in readers] == ["Transpose"]:
            (transpose,) = readers
            (order,) = (x.ints for x in transpose.attribute if x.name == "perm")
            values = values.transpose(order)
            name = transpose.output[0]
            graph.node.remove(transpose)
        values = np.ascontiguousarray(values)
        graph.initializer.append(onnx.numpy_helper.from_array(values, name))


def _opset_remark(model: Any) -> str:
    return f"ONNX opset {OPSET}, IR version {model.ir_version}."


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
