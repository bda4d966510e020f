import keras
import numpy as np
import pytest

import keras_efficientnet
from export.transforms import fold_normalization


def images(size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def network(**options):
    keras.utils.set_random_seed(0)
    return keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4, **options)


@pytest.mark.parametrize("lite", [False, True])
def test_odd_image_size_gives_the_same_outputs(lite):
    model = network(lite=lite)
    x = images(33)
    expected = model(x, training=False)
    found = fold_normalization.classify_pixels(model)(x)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def tail(x):
    return keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding", "expected"),
    [
        # TensorFlow's rule for "same": the last window may exceed the image.
        (8, 3, 2, "same", ((0, 1), (0, 1))),
        (9, 3, 2, "same", ((1, 1), (1, 1))),
        (8, 5, 1, "same", ((2, 2), (2, 2))),
        (8, 1, 2, "same", ((0, 0), (0, 0))),
        (8, 3, 2, "valid", ((0, 0), (0, 0))),
    ],
)
def test_border_is_as_wide_as_the_convolution_pads(
    size, kernel, strides, padding, expected
):
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling([0.5, 1, 2], [-3, -4, -5])(inputs)
    x = keras.layers.Conv2D(4, kernel, strides, padding)(x)
    model = keras.Model(inputs, tail(x))
    found = fold_normalization.find_stem(model)
    assert found.padding == expected
    assert found.border.tolist() == [6, 4, 2.5]
    pixels = images(size)
    np.testing.assert_allclose(
        fold_normalization.classify_pixels(model)(pixels), model(pixels), atol=1e-5
    )


def test_explicit_padding_and_a_bias_give_the_same_outputs():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 128, -127 / 128)(inputs)
    x = keras.layers.ZeroPadding2D(((2, 1), (0, 3)))(x)
    x = keras.layers.Conv2D(4, 3, 2, bias_initializer="ones")(x)
    model = keras.Model(inputs, tail(x))
    assert fold_normalization.find_stem(model).padding == ((2, 1), (0, 3))
    pixels = images(8)
    np.testing.assert_allclose(
        fold_normalization.classify_pixels(model)(pixels), model(pixels), atol=1e-6
    )


def test_the_activation_of_the_convolution_is_applied():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 128, -1)(inputs)
    model = keras.Model(inputs, tail(keras.layers.Conv2D(4, 3, activation="relu")(x)))
    assert fold_normalization.find_stem(model) is not None
    pixels = images(8)
    np.testing.assert_allclose(
        fold_normalization.classify_pixels(model)(pixels), model(pixels), atol=1e-6
    )


def test_a_convolution_that_is_an_output_is_not_folded():
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(2)(inputs))
    model = keras.Model(inputs, [tail(features), features])
    assert fold_normalization.classify_pixels(model) is model


def test_a_normalization_that_is_an_output_is_not_folded():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(2)(inputs)
    model = keras.Model(inputs, [tail(keras.layers.Conv2D(4, 3)(x)), x])
    assert fold_normalization.classify_pixels(model) is model


@pytest.mark.parametrize("use_bias", [False, True])
def test_layers_may_be_part_of_another_model_too(use_bias):
    inputs = keras.Input((8, 8, 3))
    layers = [
        keras.layers.Rescaling(1 / 128, -1),
        keras.layers.Conv2D(4, 3, use_bias=use_bias),
    ]
    first = keras.Model(inputs, tail(layers[1](layers[0](inputs))))
    again = keras.Input((8, 8, 3))
    second = keras.Model(again, tail(layers[1](layers[0](again))))
    pixels = images(8)
    for model in (first, second):
        found = fold_normalization.classify_pixels(model)
        assert found is not model
        np.testing.assert_allclose(found(pixels), model(pixels), atol=1e-6)


def plain(x):
    return keras.layers.Conv2D(4, 3)(x)


def with_two_readers(x):
    x = keras.layers.Rescaling(2)(x)
    return keras.layers.Conv2D(3, 1)(x) + x


@pytest.mark.parametrize("begin", [plain, with_two_readers])
def test_other_first_layers_are_not_folded(begin):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, tail(begin(inputs)))
    assert fold_normalization.find_stem(model) is None
    assert fold_normalization.classify_pixels(model) is model


def test_model_can_still_be_saved(tmp_path):
    model = network()
    before = model.get_config()
    fold_normalization.classify_pixels(model)
    assert model.get_config() == before
