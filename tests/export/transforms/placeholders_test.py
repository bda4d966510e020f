import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from export.formats import onnx, tflite
from export.quantization.tflite_graph import Graph
from export.transforms import placeholders
from tests.support import export_run
from tests.support.artefacts import run_tflite

layers = keras.layers


@pytest.fixture(autouse=True)
def small_kernels(monkeypatch):
    """Makes placeholders pay off for small kernels."""
    monkeypatch.setattr(placeholders, "MIN_SIZE", 64)


def network():
    return keras_efficientnet.EfficientNet(0.25, 0.3, 32, classes=4)


def constants(content):
    graph = Graph(content)
    buffers = [graph.model.buffers[tensor.buffer].data for tensor in graph.tensors]
    return [bytes(np.asarray(x, np.uint8)) for x in buffers if x is not None]


def check_outputs(model, side):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (1, side, side, 3)).astype(np.float32)
    for weight in model.weights:
        weight.assign(rng.uniform(-0.5, 0.9, weight.shape))
    found = run_tflite(tflite.convert(model, side), images)
    expected = np.asarray(model(images, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_files_are_equal_with_and_without_placeholders(monkeypatch):
    model = network()
    found = tflite.convert(model, 32)
    monkeypatch.setattr(placeholders, "MIN_SIZE", 10**9)
    expected = tflite.convert(model, 32)
    assert sorted(constants(found)) == sorted(constants(expected))


def test_converter_sees_no_large_kernel(monkeypatch):
    model, sizes = network(), []
    freeze = tflite.convert_variables_to_constants_v2

    def measure(function):
        frozen = freeze(function)
        sizes.append(frozen.graph.as_graph_def().ByteSize())
        return frozen

    monkeypatch.setattr(tflite, "convert_variables_to_constants_v2", measure)
    tflite.convert(model, 32)
    monkeypatch.setattr(placeholders, "MIN_SIZE", 10**9)
    tflite.convert(model, 32)
    small, large = sizes
    kernels = [w for w in model.weights if w.path.endswith("/kernel")]
    sizes = [int(np.prod(w.shape)) for w in kernels if w.shape[-2] > 4]
    # Depthwise kernels remain.
    assert large - small > 3.5 * sum(n for n in sizes if n >= 64 * 9)


def test_first_convolution_has_no_placeholder():
    paths = [kernel.path for kernel in placeholders.large_kernels(network())]
    assert paths
    assert not any("stem" in path for path in paths)


@pytest.mark.parametrize(
    "make",
    [
        # The converter multiplies the kernel by the factor that follows,
        lambda x: layers.Rescaling(3.0)(layers.Conv2D(16, 3)(x)),
        # and adds the kernel times the first bias to the second bias.
        lambda x: layers.Dense(8)(layers.Dense(9)(layers.Flatten()(x))),
    ],
)
def test_converts_again_if_the_converter_computes_with_a_kernel(make, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 1, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Flatten()(make(x)))
    calls, convert = [], tflite._convert
    monkeypatch.setattr(
        tflite, "_convert", lambda *args: calls.append(args[1]) or convert(*args)
    )
    check_outputs(model, 8)
    with_placeholders, without = calls
    assert with_placeholders
    assert not without


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Dense(8)(x),  # over several axes
        lambda x: layers.Conv2D(8, 3, groups=2)(x),
        lambda x: layers.Conv2D(8, 3, dilation_rate=2, activation="relu")(x),
        lambda x: layers.Conv2DTranspose(8, 3, strides=2)(x),
        lambda x: layers.SeparableConv2D(8, 3)(x),
        lambda x: layers.Dense(8)(layers.Dense(8)(layers.GlobalMaxPooling2D()(x))),
    ],
)
def test_outputs_of_other_layers_are_right(make):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 1, activation="relu")(inputs)
    check_outputs(keras.Model(inputs, layers.Flatten()(make(x))), 8)


def test_layer_that_is_used_twice():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 1, activation="relu")(inputs)
    shared = layers.Conv2D(8, 3, padding="same")
    x = layers.GlobalAveragePooling2D()(shared(shared(x)))
    check_outputs(keras.Model(inputs, x), 8)


def test_placeholders_that_are_not_found_are_reported():
    graph = Graph(tflite.convert(network(), 32))
    before = graph.pack()
    kernel = keras.Variable(tf.ones((3, 3, 8, 8)))
    assert not placeholders.fill_in(graph, [kernel])
    assert graph.pack() == before


class Gate(layers.Layer):
    """Learned numbers, the same for all images."""

    def build(self, shape):
        self.numbers = self.add_weight(shape=(1, 8))

    def call(self, x):
        return keras.ops.broadcast_to(self.numbers, (keras.ops.shape(x)[0], 8))


class Tied(layers.Layer):
    """Multiplies by the transposed kernel of another layer."""

    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.dense.kernel))


def gated(x):
    # The converter computes the branch, which does not depend on the image.
    return x * layers.Dense(8, "sigmoid")(Gate()(x))


def tied(x):
    dense = layers.Dense(8, "relu")
    return Tied(dense)(dense(x))


def tied_in_a_closure(x):
    dense = layers.Dense(8, "relu")
    y = dense(x)
    return layers.Lambda(lambda z: z @ tf.transpose(dense.kernel.value))(y)


def scaled_down(x):
    return layers.Rescaling(1e-13)(layers.Dense(8, use_bias=False)(x))


def with_lora(x):
    dense = layers.Dense(8, "relu")
    y = dense(x)
    dense.enable_lora(4)
    return y


@pytest.mark.parametrize(
    "make", [gated, tied, tied_in_a_closure, scaled_down, with_lora]
)
def test_unusual_uses_of_kernels(make):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu")(inputs)
    x = make(layers.GlobalAveragePooling2D()(x))
    check_outputs(keras.Model(inputs, layers.Dense(4)(x)), 8)


def test_model_with_a_list_of_one_input():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(layers.Conv2D(8, 3, activation="relu")(inputs))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model([inputs], [layers.Dense(4)(x), x])
    assert placeholders.large_kernels(model)
    tflite.convert(model, 8)


def test_onnx_takes_a_list_of_one_input(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs))
    model = keras.Model([inputs], layers.Dense(4, "softmax")(x))
    onnx.write(export_run.source(model), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").is_file()
