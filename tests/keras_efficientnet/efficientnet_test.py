import keras
import numpy as np
import pytest

import keras_efficientnet
from keras_efficientnet import efficientnet
from keras_efficientnet.architecture import Variant
from keras_efficientnet.weights import network_options
from tests.support.training_runs.two_stages import two_stages


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_accepts_pixels_of_any_dtype(tiny, dtype):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3))
    expected = tiny.predict(pixels.astype("float32"), verbose=0)
    actual = tiny.predict(pixels.astype(dtype), verbose=0)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("kind", ["imagenet", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integer_inputs_equal_float_inputs(kind, dtype):
    options = {"normalization": kind, "classes": 4}
    inputs = keras.Input((32, 32, 3), dtype=dtype)
    ours = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, input_tensor=inputs, **options
    )
    floats = keras_efficientnet.EfficientNet(0.25, 0.3, 32, **options)
    floats.set_weights(ours.get_weights())
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(dtype)
    actual = keras.ops.convert_to_numpy(ours(pixels))
    np.testing.assert_array_equal(actual, floats(pixels.astype("float32")))
    assert network_options(ours)["normalization"] == kind


def test_accepts_and_saves_numpy_numbers(tmp_path):
    model = keras_efficientnet.EfficientNet(
        np.float32(0.25),
        np.float64(0.3),
        np.int64(32),
        classes=np.int64(4),
        dropout=np.float32(0.25),
        drop_connect=np.float32(0.25),
        bn_momentum=np.float32(0.5),
        bn_epsilon=np.float32(0.5),
        input_shape=np.array([32, 40, 3]),
    )
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert again.input_shape == (None, 32, 40, 3)
    assert again.output_shape == (None, 4)
    assert again.get_layer("top_dropout").rate == 0.25
    assert again.get_layer("top_bn").epsilon == 0.5


def test_accepts_a_normalization_layer_before_the_network(tmp_path):
    """Keras names the first Normalization layer of a process "normalization"."""
    inputs = keras.Input((32, 32, 3))
    own = keras.layers.Normalization(mean=1.0, variance=4.0, name="normalization")
    model = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, input_tensor=own(inputs), classes=4
    )
    plain = keras_efficientnet.EfficientNet(0.25, 0.3, 32, classes=4)
    plain.save_weights(tmp_path / "plain.weights.h5")
    keras_efficientnet.load_weights(model, tmp_path / "plain.weights.h5")
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model(pixels), plain((pixels - 1) / 2), atol=1e-6)


def test_rejects_an_array_as_input_tensor():
    with pytest.raises(TypeError, match=r"`input_tensor` must be.*numpy.ndarray") as e:
        keras_efficientnet.EfficientNet(
            0.25, 0.3, 32, input_tensor=np.zeros((1, 64, 64, 3))
        )
    assert "0." not in str(e.value)


@pytest.mark.parametrize(
    "kind", ["imagenet", "inception", "inception128", "lite", "none"]
)
def test_normalization_is_one_stateless_layer(kind):
    """Golden: the formulas of the original, in float64."""
    model = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, normalization=kind, include_top=False
    )
    pixels = np.linspace(0, 255, 3 * 32 * 32).reshape(1, 32, 32, 3)
    mean, std = {
        "imagenet": (
            255 * np.array([0.485, 0.456, 0.406]),
            255 * np.array([0.229, 0.224, 0.225]),
        ),
        "inception": (127.5, 127.5),
        "inception128": (128, 128),
        "lite": (127, 128),
        "none": (0, 1),
    }[kind]
    stem_input = model.get_layer("stem_conv").input
    normalized = keras.Model(model.input, stem_input)(pixels.astype("float32"))
    np.testing.assert_allclose(normalized, (pixels - mean) / std, atol=2e-6, rtol=2e-6)
    assert sum(isinstance(la, keras.layers.Rescaling) for la in model.layers) == (
        kind != "none"
    )
    assert not any(la.weights for la in model.layers if "normalization" in la.name)


def test_the_graph_does_not_depend_on_the_weights(tiny, tmp_path):
    path = tmp_path / "tiny.weights.h5"
    tiny.save_weights(path)
    loaded = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, classes=4, weights=str(path)
    )

    def graph(model):
        return [(layer.name, type(layer)) for layer in model.layers[1:]]

    assert graph(loaded) == graph(tiny)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), tiny.predict(images, verbose=0)
    )


def test_only_built_in_layers(tiny):
    assert all(type(la).__module__.startswith("keras.") for la in tiny.layers)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels):
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 32, in_channels=channels)
    assert model.input_shape == (None, 32, 32, channels)
    by_shape = keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, input_shape=(32, 32, channels)
    )
    assert by_shape.count_params() == model.count_params()


def test_features_are_a_dict_of_reductions():
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 65, features=(1, 2, 3, 4, 5))
    maps = model(np.zeros((2, 65, 65, 3), "float32"))
    # 65 is halved and rounded up five times.
    assert {k: tuple(v.shape[:3]) for k, v in maps.items()} == {
        "reduction_1": (2, 33, 33),
        "reduction_2": (2, 17, 17),
        "reduction_3": (2, 9, 9),
        "reduction_4": (2, 5, 5),
        "reduction_5": (2, 3, 3),
    }


def test_features_of_b0_have_the_originals_shapes():
    """Source: endpoints reduction_1 ... of the original: 112x16 ... 7x320."""
    model = keras_efficientnet.EfficientNetB0(
        weights=None, input_shape=(224, 224, 3), features=(1, 2, 3, 4, 5)
    )
    assert [v.shape[1:] for v in model.output.values()] == [
        (112, 112, 16),
        (56, 56, 24),
        (28, 28, 40),
        (14, 14, 112),
        (7, 7, 320),
    ]


def test_features_omit_later_layers():
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 32, features=[3])
    assert not any(la.name.startswith(("block4", "top")) for la in model.layers)


def test_input_tensor_keeps_preceding_layers():
    inputs = keras.Input((32, 32, 3))
    flipped = keras.layers.Rescaling(-1.0, offset=255.0)(inputs)
    model = keras_efficientnet.EfficientNet(0.25, 0.3, 32, input_tensor=flipped)
    assert model.inputs[0] is inputs
    plain = keras_efficientnet.EfficientNet(0.25, 0.3, 32)
    plain.set_weights(model.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(model(images), plain(255 - images), atol=1e-6)


def test_symmetric_padding_is_pytorchs():
    """Golden by hand: kernel 3, stride 2, ones; PyTorch pads one pixel on each side,
    so the first window of an even image holds 4 pixels; TensorFlow's holds 9."""
    pixels = np.ones((1, 32, 32, 3), "float32")
    for padding, ones in (("symmetric", 4), ("same", 9)):
        model = keras_efficientnet.EfficientNet(
            0.25, 0.3, 32, padding=padding, normalization="none", include_top=False
        )
        conv = model.get_layer("stem_conv")
        conv.set_weights([np.ones_like(conv.get_weights()[0])])
        stem = keras.Model(model.input, conv.output)(pixels)
        assert float(stem[0, 0, 0, 0]) == ones * 3
        assert stem.shape[1:3] == (16, 16)


def test_dropout_and_batch_norm_arguments_reach_the_layers():
    model = keras_efficientnet.EfficientNet(
        0.25, 1.0, 32, dropout=0.35, drop_connect=0.4, bn_momentum=0.9, bn_epsilon=1e-5
    )
    assert model.get_layer("top_dropout").rate == 0.35
    drops = [la for la in model.layers if la.name.endswith("_drop")]
    assert [la.rate for la in drops] == sorted(la.rate for la in drops)
    assert drops[-1].rate == pytest.approx(0.4 * 14 / 16)  # 6d, of 16 blocks
    bn = model.get_layer("block3a_bn")
    assert (bn.momentum, bn.epsilon) == (0.9, 1e-5)


def test_drop_connect_drops_whole_images_and_rescales_the_others():
    layer = keras_efficientnet.EfficientNet(0.25, 1.0, 32, drop_connect=0.5).get_layer(
        "block6d_drop"
    )
    out = np.asarray(layer(np.ones((400, 2, 2, 3), "float32"), training=True))
    kept = out[:, 0, 0, 0] > 0
    assert (out == out[:, :1, :1, :1]).all()
    np.testing.assert_allclose(out[kept], 1 / (1 - layer.rate), rtol=1e-6)
    assert 1 - kept.mean() == pytest.approx(layer.rate, abs=0.1)


def test_initializers_follow_the_original():
    """Source: tensorflow/tpu, efficientnet_model.py: N(0, sqrt(2 / fan_out)), not
    truncated; dense kernels uniform in +-1 / sqrt(classes)."""
    model = keras_efficientnet.EfficientNet(1.0, 0.3, 32, classes=64)
    kernel = np.asarray(model.get_layer("top_conv").kernel)
    deviation = (2 / 1280) ** 0.5
    assert kernel.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(kernel).max() > 2.5 * deviation  # truncation would cut at 2
    depthwise = np.asarray(model.get_layer("block6a_dwconv").weights[0])
    assert depthwise.std() == pytest.approx((2 / 25) ** 0.5, rel=0.05)
    dense = np.asarray(model.get_layer("predictions").kernel)
    assert np.abs(dense).max() == pytest.approx(1 / 8, rel=0.01)


@pytest.mark.parametrize(
    "name",
    ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
)
def test_mixed_precision_trains_and_ends_in_float32(name, policy):
    policy(name)
    model = two_stages(classes=4)
    assert model.get_layer("block2a_expand_conv").compute_dtype == name[6:]
    for layer in ("avg_pool", "top_dropout", "predictions"):
        assert model.get_layer(layer).compute_dtype == "float32"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (48, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 4, 48)
    model.compile("sgd", "sparse_categorical_crossentropy")
    history = model.fit(images, labels, batch_size=8, verbose=0)  # 6 steps
    assert np.isfinite(history.history["loss"]).all()
    scores = model(images[:2])
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_initial_weights_follow_the_random_seed():
    def weights():
        keras.utils.set_random_seed(3)
        return keras_efficientnet.EfficientNet(0.25, 0.3, 32).get_weights()

    first, again = weights(), weights()
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    kernels = [w for w in first if w.ndim == 4]
    assert len({w.ravel()[0] for w in kernels}) == len(kernels)  # all drawn anew


def test_saved_configs_name_keras_initializers(tiny):
    for layer in tiny.layers:
        config = layer.get_config()
        for key in ("kernel_initializer", "depthwise_initializer"):
            if config.get(key):
                assert config[key]["module"] == "keras.initializers"
                assert config[key]["class_name"] == "VarianceScaling"


def test_from_phi_builds_the_compound_scaling():
    model = keras_efficientnet.from_phi(-7, weights=None, classes=3)
    scaling = keras_efficientnet.compound(-7)
    assert model.input_shape == (None, *[round(224 * 1.15**-7)] * 2, 3)
    planned = Variant(scaling.width, scaling.depth, scaling.image_size(), 0.2)
    counted = keras_efficientnet.profile(model)
    assert counted.params == keras_efficientnet.plan_cost(planned, classes=3).params


def test_from_phi_raises_dropout_with_size(monkeypatch):
    """Source: arXiv:1905.11946, section 5.2: from 0.2 for B0 to 0.5 for B7."""
    seen = []
    monkeypatch.setattr(
        efficientnet, "EfficientNet", lambda *a, **k: seen.append(k["dropout"])
    )
    for phi in (-1, 0, 3.5, 7, 9):
        efficientnet.from_phi(phi)
    assert seen == pytest.approx([0.2, 0.2, 0.35, 0.5, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "valid"}, "`padding` must be one of 'same', 'symmetric'"),
        ({"padding": "symetric"}, "Did you mean 'symmetric'"),
        ({"pooling": "mean"}, "`pooling` must be .* Received: pooling='mean'"),
        ({"normalization": "imagenett"}, "Did you mean 'imagenet'"),
        ({"dropout": 1.0}, "`dropout` must be .* Received: dropout=1.0"),
        ({"drop_connect": -0.1}, "`drop_connect` must .* drop_connect=-0.1"),
        ({"classes": 0}, "`classes` must be .* Received: classes=0"),
        ({"features": (0, 1)}, r"`features` must .* Received: features=\(0, 1\)"),
        ({"features": ()}, r"`features` must .* Received: features=\(\)"),
        ({"input_shape": (31, 32, 3)}, r"at least 32 pixels .* input_shape=\(31"),
        ({"input_shape": 64}, r"such as \(224, 224, 3\).* Received: input_shape=64"),
        ({"input_shape": (32, 32)}, r"must be \(height, width, channels\)"),
        ({"input_shape": (32, 32, None)}, "with channels known"),
        ({"input_shape": (32, 32, 3), "in_channels": 1}, "`in_channels` must equal"),
    ],
)
def test_rejects_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        keras_efficientnet.EfficientNet(0.25, 0.3, 32, **options)


@pytest.mark.parametrize("resolution", [31, 1.15])
def test_resolution_is_in_pixels(resolution):
    with pytest.raises(ValueError, match=f"pixels.*Received: resolution={resolution}"):
        keras_efficientnet.EfficientNet(1.0, 1.0, resolution)


def test_rejects_channels_first(monkeypatch):
    monkeypatch.setattr(keras.backend, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match="must be 'channels_last'"):
        keras_efficientnet.EfficientNet(0.25, 0.3, 32)
