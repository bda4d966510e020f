import functools

import keras
import numpy as np
import pytest

from export.formats import tflite
from export.quantization import calibration, gptq
from export.quantization.tflite_graph import Graph

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, 4, 4, 3)).astype(np.float32)


def nearest(rows):
    steps = np.abs(rows).max(axis=2, keepdims=True) / 127
    return np.rint(rows / steps) * steps


def steps_of(rows, rounded):
    return rounded * 127 / np.abs(rows).max(axis=2, keepdims=True)


@functools.cache
def content():
    """A network of one 1x1 layer with known rounding errors."""
    inputs = keras.Input((4, 4, 3))
    layer = keras.layers.Conv2D(2, 1)
    x = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    kernel = np.array([1.0, 0.504 / 127, 0.0]).reshape(1, 1, 3, 1)
    layer.set_weights([np.tile(kernel, 2), np.array([4, 5])])
    return tflite.convert(model, 4)


@functools.cache
def kernels():
    seen = calibration.collect_activations(content(), [IMAGES])
    return gptq.round_kernels(content(), seen.moments)


def test_uncorrelated_inputs_get_nearest_steps():
    rows = RNG.normal(size=(2, 3, 100))
    found = gptq.round_rows(rows, np.tile(np.eye(100), (2, 1, 1)))
    np.testing.assert_allclose(found, nearest(rows), atol=1e-12)


def test_correlated_inputs_share_errors():
    rows = RNG.normal(size=(2, 5, 100))
    mixed = RNG.normal(size=(2, 1000, 20)) @ RNG.normal(size=(2, 20, 100))
    covariances = np.swapaxes(mixed, 1, 2) @ mixed / 1000 + np.eye(100)
    found = gptq.round_rows(rows, covariances)

    def energy(rounded):
        return np.square((rounded - rows) @ np.swapaxes(mixed, 1, 2)).sum()

    assert energy(found) < 0.3 * energy(nearest(rows))


def test_rows_are_multiples_of_steps_and_keep_their_greatest_weight():
    rows = RNG.normal(size=(1, 5, 70))
    mixed = RNG.normal(size=(70, 70))
    steps = steps_of(rows, gptq.round_rows(rows, (mixed @ mixed.T)[np.newaxis]))
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    np.testing.assert_allclose(np.abs(steps).max(axis=2), 127)


def test_row_of_zeros_is_unchanged():
    assert not gptq.round_rows(np.zeros((1, 2, 3)), np.eye(3)[np.newaxis]).any()


def test_bias_corrects_the_mean_error_of_the_kernel():
    (kernel, bias), *_ = kernels().values()
    original = np.array([1, 0.504 / 127, 0])
    shift = (kernel[0].ravel() - original) @ IMAGES.mean(axis=(0, 1, 2))
    assert abs(shift) > 0.1  # there is something to take back
    assert bias == pytest.approx(np.array([4, 5]) - shift, abs=1e-4)


def test_kernels_are_replaced_except_the_kept_ones():
    (name,) = kernels()
    for kept, expected in ((), kernels()[name][0][0, 0, 0, 1]), ((name,), 0.504 / 127):
        graph = Graph(gptq.with_kernels(content(), kernels(), kept))
        (layer,) = graph.layers()
        weight = graph.constant(layer.inputs[1])[0, 0, 0, 1]
        assert weight == pytest.approx(expected)
