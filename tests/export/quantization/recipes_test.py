import functools

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.formats import tflite
from export.quantization import calibration, recipes
from export.quantization.tflite_graph import Graph, Kind
from export.runtimes import base

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 4, 3)).astype(np.float32)
ONES = np.ones((1, 1, 3, 4), np.float32)


def network(kernel, bias, layer_type=keras.layers.Conv2D):
    """Returns the content of a .tflite file: 1x1 layer, average pooling, softmax."""
    inputs = keras.Input((4, 4, 3))
    count = () if layer_type is keras.layers.DepthwiseConv2D else (len(bias),)
    layer = layer_type(*count, kernel_size=1)
    x = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    layer.set_weights([kernel, np.array(bias, np.float32)])
    return tflite.convert(model, 4)


@functools.cache
def plain():
    return network(0.01 * ONES, [0, 1, 2, 3])


def seen(content):
    return calibration.collect_activations(content, [IMAGES])


def ranges_of(content):
    return calibration.find_ranges(content, seen(content), 0.0)


def classify(graph, images, tmp_path):
    (tmp_path / "model.tflite").write_bytes(graph.pack())
    return base.TFLiteRunner(tmp_path / "model.tflite")(images)


def types(graph):
    return {tensor.type for tensor in graph.tensors}


@pytest.mark.parametrize("bits", [8, 16])
def test_integer_recipe_converts_input_and_output_only(bits):
    graph = recipes.apply_recipe(
        plain(), recipes.integer_recipe(bits), ranges_of(plain())
    )
    kinds = [graph.kind(operator) for operator in graph.operators]
    assert (kinds[0], kinds[-1]) == (Kind.QUANTIZE, Kind.DEQUANTIZE)
    assert not {Kind.QUANTIZE, Kind.DEQUANTIZE} & set(kinds[1:-1])


def test_kept_operation_stays_a_float():
    graph = Graph(plain())
    (layer,) = graph.layers()
    kept = [graph.name(layer.outputs[0])]
    mixed = recipes.apply_recipe(
        plain(), recipes.integer_recipe(8, kept), ranges_of(plain())
    )
    (layer,) = mixed.layers()
    assert mixed.tensors[layer.inputs[1]].type == schema.TensorType.FLOAT32
    assert schema.TensorType.INT8 in types(mixed)  # what comes after it


@pytest.mark.parametrize("bits", [8, 16])
def test_channel_with_a_zero_kernel_keeps_its_bias(bits, tmp_path):
    kernel = np.zeros((1, 1, 3, 4), np.float32)
    kernel[..., 3] = 1e-12
    content = network(kernel, [0, 1, 2, 1.5])
    ranges = ranges_of(content)
    revived = recipes.revive_dead_kernels(content, ranges, bits)
    graph = recipes.apply_recipe(revived, recipes.integer_recipe(bits), ranges)
    scores = np.exp([0, 1, 2, 1.5])
    np.testing.assert_allclose(
        classify(graph, IMAGES[:1], tmp_path)[0], scores / scores.sum(), atol=0.005
    )


def test_other_kernels_are_unchanged():
    revived = Graph(recipes.revive_dead_kernels(plain(), ranges_of(plain()), 16))
    (layer,) = revived.layers()
    assert (revived.constant(layer.inputs[1]) == np.float32(0.01)).all()


def test_input_and_output_are_bytes(tmp_path):
    content = plain()
    expected = seen(content).probabilities
    graph = recipes.apply_recipe(content, recipes.integer_recipe(8), ranges_of(content))
    count = len(graph.operators)
    recipes.use_uint8_io(graph)
    assert len(graph.operators) == count
    assert schema.TensorType.FLOAT32 not in types(graph)
    np.testing.assert_allclose(classify(graph, IMAGES, tmp_path), expected, atol=0.02)


def test_a_float_network_can_take_bytes(tmp_path):
    content = plain()
    graph = Graph(content)
    recipes.use_uint8_io(graph)
    ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    assert [tensor.type for tensor in ends] == 2 * [schema.TensorType.UINT8]
    np.testing.assert_allclose(
        classify(graph, IMAGES, tmp_path),
        seen(content).probabilities,
        atol=1 / 512 + 1e-6,
    )
