"""Export to TFLite, in float32, float16, int8 and int16x8."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert import ConverterError
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..quantization.calibration import Activations, collect_activations
from ..quantization.recipes import apply_recipe, dynamic_recipe, float16_recipe
from ..quantization.selective import quantize_int8, quantize_int16
from ..quantization.tflite_graph import Graph
from ..transforms.fold_batch_norm import fold_batch_norm
from ..transforms.fold_normalization import classify_pixels
from ..transforms.placeholders import fill_in, large_kernels, with_placeholders
from .export_inputs import ExportInputs, once_per_network
from .metadata import pack_with_metadata

FEATURES = "features"  # second output of networks that have one


def write_float32(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file in float32.

    The model takes `images`, (1, image_size, image_size, channels), float32, 0 to 255,
    and returns `probabilities`, (1, classes), float32; or `logits`, if the network
    does.

    Args:
        source: Network to export.
        path: Path of the file.

    Returns:
        An empty tuple.

    Raises:
        ValueError: The network uses an operation that TFLite lacks.
    """
    _save(Graph(_float32_content(source)), source, path)
    return ()


def write_float16(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file whose kernels are stored in float16.

    Inputs and outputs are those of `write_float32`. Processors without float16
    arithmetic widen the kernels once, when the file is opened.

    Args:
        source: Network to export.
        path: Path of the file.

    Returns:
        An empty tuple.

    Raises:
        ValueError: The network uses an operation that TFLite lacks, or a weight is too
            large for float16.
    """
    _save(to_float16(_float32_content(source)), source, path)
    return ()


def write_dynamic(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file with int8 weights and float32 activations.

    Inputs and outputs are those of `write_float32`. Activations are rounded to 8 bits
    at run time, each by its own range, so no images are needed.

    Args:
        source: Network to export.
        path: Path of the file.

    Returns:
        An empty tuple.

    Raises:
        ValueError: The network uses an operation that TFLite lacks.
    """
    content = _float32_content(source)
    _save(apply_recipe(content, dynamic_recipe()), source, path)
    return ()


def write_int16x8(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file with int8 weights and int16 activations.

    Inputs and outputs are those of `write_float32`. If rounding the weights changes the
    outputs too much, the first parts of the network stay in float32.

    Args:
        source: Network to export, with images to calibrate activation ranges on.
        path: Path of the file.

    Returns:
        A remark on the parts in float32, if there are any.

    Raises:
        ValueError: The network uses an operation that TFLite lacks, or there
            are no images.
    """
    content, seen = calibrate(source)
    graph, remarks = quantize_int16(content, seen)
    _save(graph, source, path)
    return remarks


def write_int8(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a .tflite file that computes in integers throughout.

    The model takes `images`, (1, image_size, image_size, channels), uint8: raw pixels.
    It returns `probabilities`, (1, classes), uint8, in steps of 1/256; or `logits` in
    steps that cover their range on the images. Weights have one scale per channel.

    If the top-1 class changes on too many calibration images, as few parts of the
    network as necessary stay in float32.

    Args:
        source: Network to export, with images to calibrate activation ranges on.
        path: Path of the file.

    Returns:
        A remark on the parts in float32 and their cost, if there are any.

    Raises:
        ValueError: The network uses an operation that TFLite lacks, or there
            are no images.
    """
    content, seen = calibrate(source)
    graph, remarks = quantize_int8(content, seen)
    if not remarks:
        check_integer(graph)
    _save(graph, source, path)
    return remarks


@once_per_network
def calibrate(source: ExportInputs) -> tuple[bytes, Activations]:
    """Runs the float32 network on the calibration images.

    Args:
        source: Network to export.

    Returns:
        Content of its .tflite file in float32, and statistics of its activations.

    Raises:
        ValueError: The network uses an operation that TFLite lacks, or there
            are no images.
    """
    content = _float32_content(source)
    activation = source.output_activation
    return content, collect_activations(
        content, source.calibration, activation, source.thresholds
    )


def convert(
    model: keras.Model,
    image_size: int,
    *,
    output_name: str = "probabilities",
) -> bytes:
    """Converts a network to TFLite in float32.

    Args:
        model: Network to convert; a second output is named `features`.
        image_size: Side of its input, pixels.
        output_name: Name of the first output.

    Returns:
        Content of a .tflite file.

    Raises:
        ValueError: The network uses an operation that TFLite lacks.
    """
    network = fold_batch_norm(model, tensorflow_layers=False)
    kernels = large_kernels(network)
    outputs = (output_name, FEATURES)[: len(model.outputs)]
    graph = Graph(_convert(network, kernels, image_size, outputs))
    is_right = fill_in(graph, kernels)
    content = graph.pack()
    if kernels and not (is_right and _agrees(content, model, image_size, outputs)):
        content = _convert(network, (), image_size, outputs)
    check_builtin(content)
    return content


def to_float16(content: bytes) -> Graph:
    """Stores the kernels of a network in float16.

    Args:
        content: Content of a .tflite file in float32.

    Returns:
        The network with kernels in float16.

    Raises:
        ImportError: litert-quantizer is not installed.
        ValueError: A weight is too large for float16.
    """
    largest = np.finfo(np.float16).max
    graph = Graph(content)
    for index in graph.kernels():
        kernel = np.abs(graph.constant(index))
        if kernel.max() > largest:
            raise ValueError(
                f"Weights must be at most {largest:.0f} for float16; export to "
                f"float32. Received: {kernel.max():.6g} in {graph.name(index)}"
            )
    return apply_recipe(content, float16_recipe())


def check_builtin(content: bytes) -> None:
    """Checks that all operations are builtin, so that every TFLite runtime has them.

    Args:
        content: Content of a .tflite file.

    Raises:
        ValueError: An operation is custom, or TensorFlow's own (Flex).
    """
    custom = schema.BuiltinOperator.CUSTOM
    codes = schema.ModelT.InitFromPackedBuf(content).operatorCodes
    foreign = sorted(c.customCode.decode() for c in codes if c.builtinCode == custom)
    if foreign:
        raise ValueError(
            "A TFLite model must use builtin operations only; others need more than "
            f"the plain runtime. Received: {', '.join(foreign)}"
        )


def check_integer(graph: Graph) -> None:
    """Checks that there are no float tensors, which integer accelerators reject.

    Args:
        graph: Graph of a .tflite file.

    Raises:
        ValueError: A tensor is a float.
    """
    floats = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    names = [t.name.decode() for t in graph.tensors if t.type in floats]
    if names:
        raise ValueError(
            "An integer model must have no float tensors. "
            f"Received: {len(names)} of {len(graph.tensors)}, the first {names[0]}"
        )


@once_per_network
def _float32_content(source: ExportInputs) -> bytes:
    return convert(source.model, source.image_size, output_name=source.output_name)


def _save(graph: Graph, source: ExportInputs, path: Path) -> None:
    content = pack_with_metadata(graph, source)
    check_builtin(content)
    path.write_bytes(content)


def _agrees(
    content: bytes, model: keras.Model, image_size: int, outputs: Sequence[str]
) -> bool:
    """Returns whether a file gives a network's outputs for random pixels."""
    shape = (1, image_size, image_size, model.inputs[0].shape[-1])
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    with quiet_stderr():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    found = interpreter.get_signature_runner()(images=pixels)
    given = keras.tree.map_structure(lambda _: pixels, model.input)  # maybe a list
    expected = map(np.asarray, keras.tree.flatten(model(given, training=False)))
    return all(
        np.allclose(found[name], y, rtol=0, atol=1e-3 * np.abs(y).max(), equal_nan=True)
        for name, y in zip(outputs, expected, strict=True)
    )


def _convert(
    network: keras.Model,
    kernels: Sequence[keras.Variable],
    image_size: int,
    outputs: Sequence[str],
) -> bytes:
    """Converts a network, with placeholders for some of its kernels."""
    shape = (1, image_size, image_size, network.inputs[0].shape[-1])
    signature = [tf.TensorSpec(shape, tf.float32, name="images")]
    classify = tf.function(
        with_placeholders(classify_pixels(network), kernels),
        input_signature=signature,
        autograph=False,
    )
    frozen = convert_variables_to_constants_v2(classify.get_concrete_function())

    # Freezing drops the output's name.
    @tf.function(input_signature=signature, autograph=False)
    def named(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(outputs, frozen(images), strict=True))

    # Custom gradients, such as swish's, cannot be saved with a frozen graph; the
    # converter would silently drop the signature.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        with quiet_stderr(), tempfile.TemporaryDirectory() as folder:
            function = named.get_concrete_function()
            tf.saved_model.save(tf.Module(), folder, function, options)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            content: bytes = converter.convert()
            return content
    except ConverterError as error:
        raise ValueError(
            "A network must use only operations that are builtin in TFLite. "
            f"Received: {error}"
        ) from error
