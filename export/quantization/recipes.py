"""Quantisation recipes: the configuration of litert-quantizer.

The quantizer replaces constants and tensors of a .tflite file in float32.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_efficientnet.common.cli.quiet import quiet_stderr

from ..extras import require_package
from .calibration import Ranges
from .tflite_graph import Graph, Kind

PROBABILITY_RANGE = 255 / 256  # in steps of 1/256, as TFLite rounds softmax outputs

Recipe = list[dict[str, Any]]

_INT8 = {"dtype": "INT", "num_bits": 8}
_WEIGHTS = {**_INT8, "symmetric": True, "granularity": "CHANNELWISE"}


def dynamic_recipe() -> Recipe:
    """Returns the recipe for int8 kernels and activations rounded at run time.

    Depthwise kernels stay floats: they are small, and XNNPACK, which runs all other
    operations, has no hybrid kernel for them.
    """
    config = {"weight_tensor_config": _WEIGHTS, "compute_precision": "INTEGER"}
    return [_rule("CONV_2D", config), _rule("FULLY_CONNECTED", config)]


def float16_recipe() -> Recipe:
    """Returns the recipe for kernels that are stored in float16."""
    config = {
        "weight_tensor_config": {"dtype": "FLOAT", "num_bits": 16},
        "compute_precision": "FLOAT",
        "explicit_dequantize": True,
    }
    kinds = ("CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    return [_rule(kind, config, algorithm="float_casting") for kind in kinds]


def integer_recipe(bits: int, kept: Collection[str] = ()) -> Recipe:
    """Returns the recipe for int8 kernels and integer activations.

    Args:
        bits: Bits of activations: 8, or 16, which are symmetric around 0.
        kept: Names of tensors whose operations stay in float32.
    """
    activations = {"dtype": "INT", "num_bits": bits, "symmetric": bits == 16}
    config = {
        "activation_tensor_config": {**activations, "granularity": "TENSORWISE"},
        "weight_tensor_config": _WEIGHTS,
        "compute_precision": "INTEGER",
    }
    # Input and output stay floats, which the first and the last operation convert.
    recipe = [_rule("*", config), _keep("INPUT"), _keep("OUTPUT")]
    if kept:
        named = "|".join(re.escape(name) for name in sorted(kept))
        recipe.append(_keep("*", f"^({named});?$"))
    return recipe


def apply_recipe(content: bytes, recipe: Recipe, ranges: Ranges | None = None) -> Graph:
    """Quantises a network.

    Args:
        content: Content of a .tflite file in float32.
        recipe: Quantisation rules for the operations.
        ranges: Ranges of the activations that become integers.

    Returns:
        The quantised network.

    Raises:
        ImportError: litert-quantizer is not installed.
    """
    quantizer = require_package("litert_quantizer", "export").Quantizer(content, recipe)
    known = None
    if ranges is not None:
        known = {
            name: {"min": np.float32(low), "max": np.float32(high)}
            for name, (low, high) in ranges.items()
        }
    with warnings.catch_warnings(), quiet_stderr():
        warnings.simplefilter("ignore")  # about channels that are all zeros
        result = quantizer.quantize(
            known, enable_progress_bar=False, enable_progress_report=False
        )
    graph = Graph(bytes(result.quantized_model))
    _allow_any_scales(graph)
    return graph


def _allow_any_scales(graph: Graph) -> None:
    # By default, 16-bit additions require power-of-two scales. Few scales are, and
    # runtimes reject files whose scales all happen to look like powers of two.
    for operator in graph.operators:
        if graph.kind(operator) in (Kind.ADD, Kind.SUB):
            operator.builtinOptions.potScaleInt16 = False


def revive_dead_kernels(content: bytes, ranges: Ranges, bits: int) -> bytes:
    """Prevents bias overflow in channels whose kernel is almost zero.

    A bias is stored in units of the kernel's scale times the input's. If a kernel has
    decayed during training, the unit is so small that the bias overflows 32 bits.
    Setting one weight to a value just large enough, and still negligible, prevents
    this.

    Args:
        content: Content of a .tflite file in float32.
        ranges: Ranges of the activations.
        bits: Bits that activations will have.

    Returns:
        Content of the file with these weights changed.
    """
    graph = Graph(content)
    for layer in graph.layers():
        low, high = ranges[graph.name(layer.inputs[0])]
        scale = (max(high, 0) - min(low, 0)) / (2**bits - 1)
        kernel, bias = graph.constant(layer.inputs[1]), graph.constant(layer.inputs[2])
        axis = 3 if graph.kind(layer) == Kind.DEPTHWISE_CONV_2D else 0
        channels = np.moveaxis(kernel, axis, 0)  # a view
        least = 127 * np.abs(bias) / (max(scale, 1e-12) * 2**29) + 1e-12
        (dead,) = np.nonzero(np.abs(channels).max(tuple(range(1, kernel.ndim))) < least)
        if dead.size:
            channels[(dead,) + (0,) * (kernel.ndim - 1)] = least[dead]
            graph.set_constant(layer, 1, kernel)
    return graph.pack()


def use_uint8_io(
    graph: Graph, output_range: tuple[float, float] = (0.0, PROBABILITY_RANGE)
) -> None:
    """Converts a network's input and output to uint8.

    Pixels are stored unchanged, outputs in 255 steps over their range.

    Args:
        graph: Network with float32 input and output.
        output_range: Lowest and highest output; for probabilities, steps of 1/256.
    """
    low, high = output_range
    step = (high - low) / 255
    (image,), (answer,) = graph.inputs, graph.outputs
    readers = graph.users()[image]
    if all(graph.kind(x) == Kind.QUANTIZE for x in readers):
        pass  # Quantize converts uint8 to int8 as well as floats
    else:
        floats = graph.add_twin(image)
        for reader in readers:
            reader.inputs = [floats if i == image else i for i in reader.inputs]
        graph.operators.insert(0, graph.make(Kind.DEQUANTIZE, image, floats))
    (writer,) = (x for x in graph.operators if answer in x.outputs)
    if graph.kind(writer) == Kind.DEQUANTIZE:
        graph.set_kind(writer, Kind.QUANTIZE)
    else:
        writer.outputs = [graph.add_twin(answer)]
        graph.operators.append(graph.make(Kind.QUANTIZE, writer.outputs[0], answer))
    zero = round(-low / step)
    for index, scale, zero_point in ((image, 1.0, 0), (answer, step, zero)):
        tensor = graph.tensors[index]
        tensor.type = schema.TensorType.UINT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero_point], np.int64)


def _rule(
    kind: str,
    config: dict[str, Any],
    names: str = ".*",
    algorithm: str = "min_max_uniform_quantize",
) -> dict[str, Any]:
    return {
        "regex": names,
        "operation": kind,
        "algorithm_key": algorithm,
        "op_config": config,
    }


def _keep(kind: str, names: str = ".*") -> dict[str, Any]:
    return _rule(kind, {}, names, "no_quantize")
