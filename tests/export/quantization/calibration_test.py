import functools

import keras
import numpy as np
import pytest

from export.formats import tflite
from export.quantization import calibration

# Images of a single colour.
COLOURS = np.arange(21, dtype=np.float32)[:, None, None, None] * [10, 5, 1]
IMAGES = (COLOURS * np.ones((1, 4, 4, 1))).astype(np.float32)


@functools.cache
def content(activation):
    inputs = keras.Input((4, 4, 3))
    layer = keras.layers.DepthwiseConv2D(1, activation=activation)
    x = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    layer.set_weights([np.ones((1, 1, 3, 1)), np.array([-100, 0, 0.5])])
    return tflite.convert(model, 4)


def by_ending(mapping, ending):
    (value,) = (v for k, v in mapping.items() if k.split(";")[0].endswith(ending))
    return value


@functools.cache
def seen(activation="linear"):
    return calibration.collect_activations(
        content(activation), [IMAGES[:5], IMAGES[5:]]
    )


def test_extremes_are_recorded_per_image():
    lows = by_ending(seen().lows, "BiasAdd")
    highs = by_ending(seen().highs, "BiasAdd")
    # The first channel is 10 i - 100, the second 5 i, the third i + 0.5.
    i = np.arange(21)
    assert lows.tolist() == np.minimum(10 * i - 100, i + 0.5).tolist()
    assert highs.tolist() == np.maximum(5 * i, 10 * i - 100).clip(0.5).tolist()


def test_moments_are_those_of_the_layer_input():
    (moments,) = seen().moments.values()
    assert moments.count == 21 * 16
    # Pixels are [10 i, 5 i, i]; i has mean 10 and variance 36.67.
    assert moments.means.ravel() == pytest.approx([100, 50, 10])
    variances = np.array([100, 25, 1]) * (21**2 - 1) / 12
    squares = variances + np.square([100, 50, 10])
    damped = 1.1 * variances + 0.001 * squares
    assert moments.covariances.ravel() == pytest.approx(damped, rel=1e-4)


def test_many_activations_are_recorded_in_groups(monkeypatch):
    monkeypatch.setattr(calibration, "MAX_BYTES", 1)
    found = calibration.collect_activations(content("linear"), [IMAGES])
    assert found.lows.keys() == seen().lows.keys()
    for name, lows in seen().lows.items():
        assert (found.lows[name] == lows).all()
        assert (found.highs[name] == seen().highs[name]).all()


def test_first_images_are_kept_with_their_outputs():
    assert seen().images.dtype == np.uint8
    assert (seen().images == IMAGES).all()
    assert seen().probabilities.shape == (21, 3)
    assert seen().probabilities[20].argmax() == 0  # 100 or 100 and 20.5


def test_share_clips_the_widest_images():
    whole = calibration.find_ranges(content("linear"), seen(), 0.0)
    clipped = calibration.find_ranges(content("linear"), seen(), 0.1)
    assert by_ending(whole, "BiasAdd") == (-100, 100)
    # Two of 21 images, at either end.
    assert by_ending(clipped, "BiasAdd") == pytest.approx((-80, 90))


def test_pixels_always_range_from_0_to_255():
    ranges = calibration.find_ranges(content("linear"), seen(), 0.1)
    (pixels,) = (v for k, v in ranges.items() if "images" in k)
    assert pixels == (0, 255)


def test_range_of_a_sigmoid_input_is_where_the_sigmoid_changes():
    ranges = calibration.find_ranges(content("sigmoid"), seen("sigmoid"), 0.0)
    assert by_ending(ranges, "BiasAdd") == (-8, 8)


def test_input_of_swish_keeps_its_upper_end():
    ranges = calibration.find_ranges(content("swish"), seen("swish"), 0.0)
    assert by_ending(ranges, "BiasAdd") == (-8, 100)


def test_rejects_an_empty_set_of_images():
    with pytest.raises(
        ValueError, match="(?s)`calibration` must contain images.*: none"
    ):
        calibration.collect_activations(content("linear"), [])
