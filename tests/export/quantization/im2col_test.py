import functools

import keras
import numpy as np
import pytest

from export.formats import tflite
from export.quantization import calibration, im2col
from export.quantization.tflite_graph import Graph

RNG = np.random.default_rng(0)
LAYERS = {
    "strided": lambda: keras.layers.Conv2D(4, 3, strides=2, padding="same"),
    "valid": lambda: keras.layers.Conv2D(4, (2, 3), padding="valid"),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, strides=2, padding="same"),
    "several": lambda: keras.layers.DepthwiseConv2D(
        3, depth_multiplier=2, padding="same"
    ),
    "dense": lambda: keras.layers.Dense(4),
}


@functools.cache
def run(name):
    """Returns a graph, its only layer, and the layer's input and output."""
    layer = LAYERS[name]()
    inputs = keras.Input((7, 7, 3))
    x = keras.layers.Flatten()(inputs) if name == "dense" else inputs
    x = keras.layers.Flatten()(layer(x))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    layer.set_weights([RNG.normal(size=w.shape) for w in layer.get_weights()])
    content = tflite.convert(model, 7)
    graph = Graph(content)
    (found,) = graph.layers()
    ends = int(found.inputs[0]), int(found.outputs[0])
    image = RNG.integers(0, 10, (7, 7, 3))
    ((_, values),) = calibration.run_network(content, ends, [image])
    return graph, found, *(values[index] for index in ends)


@pytest.mark.parametrize("name", LAYERS)
def test_patches_times_rows_are_the_layer_output(name):
    graph, layer, read, computed = run(name)
    rows = im2col.flatten_kernels(graph, layer)
    found = im2col.find_patches(graph, layer, read, RNG)
    products = np.einsum("gpw,gkw->pgk", found, rows).reshape(len(found[0]), -1)
    products += graph.constant(layer.inputs[2])
    expected = computed.reshape(-1, computed.shape[-1])
    np.testing.assert_allclose(products, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_unflatten_inverts_flatten(name):
    graph, layer, *_ = run(name)
    rows = im2col.flatten_kernels(graph, layer)
    kernel = im2col.unflatten_kernels(graph, layer, rows)
    assert (kernel == graph.constant(layer.inputs[1])).all()


def test_patches_of_large_layers_are_sampled(monkeypatch):
    graph, layer, read, _ = run("strided")
    every = im2col.find_patches(graph, layer, read, RNG)[0]
    monkeypatch.setattr(im2col, "MAX_POSITIONS", 5)
    some = im2col.find_patches(graph, layer, read, RNG)[0]
    assert len(some) == 5
    assert {x.tobytes() for x in some} <= {x.tobytes() for x in every}


def test_moments_add_up():
    values = RNG.normal(size=(2, 30, 3))
    parts = im2col.Moments.of(values[:, :10])
    parts.add(im2col.Moments.of(values[:, 10:]))
    whole = im2col.Moments.of(values)
    np.testing.assert_allclose(parts.means, whole.means)
    np.testing.assert_allclose(parts.covariances, whole.covariances)


def test_covariances_of_one_patch_are_invertible():
    moments = im2col.Moments.of(np.full((1, 1, 50), 3, np.float32))
    assert np.linalg.cholesky(moments.covariances).shape == (1, 50, 50)
