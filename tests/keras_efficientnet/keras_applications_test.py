"""Agreement with keras.applications: names, arguments, outputs."""

import inspect

import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet as peer

import keras_efficientnet
from keras_efficientnet import efficientnet
from keras_efficientnet.architecture import VARIANTS

B_NETS = [
    "EfficientNetB0",
    *(pytest.param(f"EfficientNetB{i}", marks=pytest.mark.slow) for i in range(1, 8)),
]


def test_positional_arguments_are_those_of_keras_applications():
    theirs = inspect.signature(keras.applications.EfficientNetB0).parameters
    # keras.applications has neither, and there are no "imagenet" weights for them.
    defaults = {"EfficientNetB8": "randaugment", "EfficientNetL2": "noisy-student"}
    for key, variant in VARIANTS.items():
        if variant.family != "v1":
            continue  # see efficientnet_v2_test.py
        ours = inspect.signature(getattr(keras_efficientnet, key)).parameters
        positional = [p for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
        assert [p.name for p in positional] == list(theirs)
        for mine in positional:
            default = theirs[mine.name].default if mine.name != "name" else key.lower()
            if mine.name == "weights":
                default = defaults.get(key, default)
            assert mine.default == default, mine.name


def test_package_has_every_name_of_keras_applications():
    """Porting code takes one changed import."""
    theirs = {n for n in dir(keras.applications.efficientnet) if n[0] != "_"}
    assert {"EfficientNetB7", "preprocess_input", "decode_predictions"} <= theirs
    assert theirs <= set(dir(efficientnet))
    assert efficientnet.preprocess_input is keras_efficientnet.preprocess_input
    assert efficientnet.decode_predictions is keras_efficientnet.decode_predictions


# All variants share the code for padding odd sides, which the open input shape tests,
# and a second pair of networks would take half of the time.
ODD_SIDES = ("EfficientNetB3",)


@pytest.mark.parametrize("key", B_NETS)
def test_outputs_equal_keras_applications(key):
    """Golden: keras.applications with random weights and statistics, copied to ours."""
    size = VARIANTS[key].resolution
    options = {"weights": None, "classifier_activation": None}
    theirs = getattr(keras.applications, key)(**options)
    ours = getattr(keras_efficientnet, key)(**options)
    _randomize(theirs)
    _copy_by_name(theirs, ours)
    _assert_same_outputs(theirs, ours, size)
    if key not in ODD_SIDES:
        return
    headless = {"weights": None, "include_top": False, "pooling": "avg"}
    shape = (95, 77, 3)
    their_odd = getattr(keras.applications, key)(**headless, input_shape=shape)
    our_odd = getattr(keras_efficientnet, key)(**headless, input_shape=shape)
    _copy_by_name(theirs, their_odd)
    _copy_by_name(ours, our_odd)
    _assert_same_outputs(their_odd, our_odd, *shape[:2])


NATIVE_SIZES = sorted({variant.resolution for variant in VARIANTS.values()})
# Sides that are odd after none, one, two ... of five halvings, rounded up.
ODD_ONCE = [(32, 33), (34, 35), (36, 40), (48, 63)]


@pytest.mark.parametrize(
    ("include_top", "sizes"),
    [
        (False, ODD_ONCE),
        # Every side from 32 to 64, two at a time.
        pytest.param(
            *(False, [(side, side + 16) for side in range(32, 49)]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(True, [(side, side) for side in NATIVE_SIZES]), marks=pytest.mark.slow
        ),
    ],
    ids=["few", "small", "native"],
)
def test_open_input_shape_equals_every_static_shape(include_top, sizes):
    """Golden: keras.applications built for each static size, where its padding is
    correct."""
    options = {"include_top": include_top, "classes": 5, "weights": None}
    options |= {"classifier_activation": None, "name": "tiny"}
    ours = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, input_shape=(None, None, 3), **options
    )
    rng = np.random.default_rng(0)
    source = None
    for size in sizes:
        shape = (*size, 3)
        static = peer.EfficientNet(0.25, 0.3, size[0], input_shape=shape, **options)
        if source is None:
            source = static
            _randomize(source)
            _copy_by_name(source, ours)
        _copy_by_name(source, static)
        images = rng.uniform(0, 255, (1, *shape)).astype("float32")
        expected = keras.ops.convert_to_numpy(static(images))
        actual = keras.ops.convert_to_numpy(ours(images))
        assert actual.shape == expected.shape, size
        np.testing.assert_allclose(actual, expected, atol=1e-4, err_msg=str(size))


def test_weighted_layer_names_are_those_of_keras_applications():
    ours = keras_efficientnet.EfficientNetB1(weights=None)
    theirs = keras.applications.EfficientNetB1(weights=None)
    names = [layer.name for layer in ours.layers if layer.weights]
    assert names == [
        la.name for la in theirs.layers if la.weights and la.name[:4] != "norm"
    ]
    kept = {layer.name for layer in theirs.layers}
    added = {layer.name for layer in ours.layers} - kept
    assert added <= {"input_normalization", ours.layers[0].name}


def _randomize(model):
    """Sets random statistics of BatchNormalization, and ImageNet's of Normalization."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (w.shape for w in layer.weights)
            # Small residual branches, as in trained networks; otherwise rounding errors
            # are amplified in deep networks.
            low, high = (0.1, 0.3) if "project" in layer.name else (0.8, 1.2)
            layer.set_weights(
                [
                    rng.uniform(low, high, gamma),
                    rng.normal(0, 0.1, beta),
                    rng.normal(0, 0.1, mean),
                    rng.uniform(0.5, 1.5, variance),
                ]
            )
        elif isinstance(layer, keras.layers.Normalization):
            _set_imagenet_statistics(layer)


def _copy_by_name(source, target):
    for layer in target.layers:
        if isinstance(layer, keras.layers.Normalization):
            _set_imagenet_statistics(layer)
        elif layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def _set_imagenet_statistics(layer):
    # keras.applications scales pixels to 0..1 before this layer.
    std = np.array([0.229, 0.224, 0.225])
    layer.set_weights([np.array([0.485, 0.456, 0.406]), std**2, np.array(0)])
    layer.finalize_state()


def _assert_same_outputs(theirs, ours, height, width=None):
    images = np.random.default_rng(1).uniform(0, 255, (1, height, width or height, 3))
    # One call each; `predict` would trace first.
    images = images.astype("float32")
    expected = keras.ops.convert_to_numpy(theirs(images))
    actual = keras.ops.convert_to_numpy(ours(images))
    assert np.abs(expected).max() > 0.1  # otherwise the comparison would be meaningless
    np.testing.assert_allclose(actual, expected, atol=1e-4)
