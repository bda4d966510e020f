import functools

import keras
import numpy as np
import pytest

from export.formats import tflite
from export.quantization import recipes
from export.quantization.tflite_graph import Graph, Kind
from tests.support.artefacts import run_tflite

KERNEL = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)
BIAS = np.array([5, 7], np.float32)


@functools.cache
def content():
    inputs = keras.Input((2, 2, 3))
    layer = keras.layers.Conv2D(2, 1)
    x = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    layer.set_weights([KERNEL, BIAS])
    return tflite.convert(model, 2)


def test_constants_are_the_layers_weights():
    graph = Graph(content())
    (layer,) = graph.layers()
    assert graph.kind(layer) == Kind.CONV_2D
    kernel = graph.constant(layer.inputs[1])  # filters first
    assert kernel.tolist() == KERNEL.transpose(3, 0, 1, 2).tolist()
    assert graph.constant(layer.inputs[2]).tolist() == BIAS.tolist()


def test_packing_does_not_change_outputs():
    image = np.random.default_rng(0).uniform(0, 1, (1, 2, 2, 3)).astype(np.float32)
    packed = Graph(content()).pack()
    assert run_tflite(packed, image).tolist() == run_tflite(content(), image).tolist()


def test_changed_bias_changes_outputs():
    graph = Graph(content())
    (layer,) = graph.layers()
    graph.set_constant(layer, 2, np.log([3.0, 1.0]))
    scores = run_tflite(graph.pack(), np.zeros((1, 2, 2, 3), np.float32))
    np.testing.assert_allclose(scores, [[0.75, 0.25]], rtol=1e-6)


def test_shared_constant_changes_for_one_reader_only():
    graph = Graph(content())
    (layer,) = graph.layers()
    bias = int(layer.inputs[2])
    twin = graph.add_twin(bias)  # another tensor of the same buffer
    graph.set_constant(layer, 2, np.zeros(2))
    assert graph.constant(twin).tolist() == BIAS.tolist()
    assert graph.constant(layer.inputs[2]).tolist() == [0, 0]


def test_quantised_constant_is_dequantised():
    graph = recipes.apply_recipe(content(), recipes.dynamic_recipe())
    (layer,) = graph.layers()
    kernel = graph.constant(layer.inputs[1])
    # A step is 1/127 of each filter's greatest weight, 4 and 5.
    expected = KERNEL.transpose(3, 0, 1, 2)
    assert np.abs(kernel - expected).max() <= 5 / 127 / 2 + 1e-6
    assert kernel.max(axis=(1, 2, 3)) == pytest.approx([4, 5])
