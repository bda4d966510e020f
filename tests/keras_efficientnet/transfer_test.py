import warnings

import keras
import numpy as np
import pytest

import keras_efficientnet
from keras_efficientnet import transfer
from tests.support.training_runs.two_stages import two_stages


@pytest.fixture
def headless():
    return keras_efficientnet.EfficientNet(0.25, 0.3, 32, include_top=False)


def test_reset_classifier_keeps_the_backbone(tiny):
    reset = keras_efficientnet.reset_classifier(tiny, 7)
    assert reset.output_shape == (None, 7)
    for layer in reset.layers:
        if layer.name not in ("predictions", "top_dropout"):
            assert layer is tiny.get_layer(layer.name)
    scores = keras.ops.convert_to_numpy(reset(np.zeros((2, 32, 32, 3), "float32")))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert tiny.output_shape == (None, 4)


def test_reset_classifier_adds_a_head_to_a_headless_model(headless):
    reset = keras_efficientnet.reset_classifier(headless, 3, dropout=0.4)
    assert [layer.name for layer in reset.layers[-3:]] == [
        "avg_pool",
        "top_dropout",
        "predictions",
    ]
    assert reset.get_layer("top_dropout").rate == 0.4


def test_reset_classifier_starts_with_equal_probabilities(headless):
    reset = keras_efficientnet.reset_classifier(headless, 5)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(reset.predict(images, verbose=0), 0.2, rtol=1e-6)


def test_reset_classifier_can_be_trained_and_saved(tmp_path):
    headless = two_stages(include_top=False)
    reset = keras_efficientnet.reset_classifier(headless, 2)
    keras_efficientnet.freeze(reset)
    before = [w.copy() for w in headless.get_weights()]
    reset.compile("sgd", "sparse_categorical_crossentropy")
    reset.fit(np.zeros((4, 32, 32, 3)), np.array([0, 1, 0, 1]), verbose=0)
    for old, new in zip(before, headless.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    reset.save(tmp_path / "reset.keras")
    again = keras.saving.load_model(tmp_path / "reset.keras")
    images = np.full((1, 32, 32, 3), 99.0, "float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(again(images)),
        keras.ops.convert_to_numpy(reset(images)),
    )


def test_feature_extractor_returns_pooled_features(tiny):
    extractor = keras_efficientnet.feature_extractor(tiny)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    features = extractor.predict(images, verbose=0)
    kernel, bias = tiny.get_layer("predictions").get_weights()
    logits = features @ kernel + bias
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tiny.predict(images, verbose=0), scores, atol=1e-6)


def test_feature_extractor_of_a_headless_model_pools(headless):
    extractor = keras_efficientnet.feature_extractor(headless)
    maps = keras.ops.convert_to_numpy(headless(np.full((1, 32, 32, 3), 9.0, "float32")))
    pooled = keras.ops.convert_to_numpy(
        extractor(np.full((1, 32, 32, 3), 9.0, "float32"))
    )
    np.testing.assert_allclose(pooled, maps.mean(axis=(1, 2)), rtol=1e-5)


def test_freeze_up_to_a_stage(headless):
    keras_efficientnet.freeze(headless, up_to=3, batch_norm=False)
    frozen = {layer.name for layer in headless.layers if not layer.trainable}
    for name in ("stem_conv", "stem_bn", "block1a_dwconv", "block3a_project_bn"):
        assert name in frozen
    for name in ("block4a_expand_conv", "block4a_bn", "block7a_bn", "top_conv"):
        assert name not in frozen


def test_freeze_batch_norm_everywhere(headless):
    keras_efficientnet.freeze(headless, up_to=0, batch_norm=True)
    for layer in headless.layers:
        is_bn = isinstance(layer, keras.layers.BatchNormalization)
        is_stem = layer.name.startswith("stem") or layer is headless.layers[0]
        assert layer.trainable == (not (is_bn or is_stem or "norm" in layer.name))


def test_freeze_of_no_part_still_applies_batch_norm(headless):
    keras_efficientnet.freeze(headless, up_to=None, batch_norm=False)
    assert all(layer.trainable for layer in headless.layers)
    keras_efficientnet.freeze(headless, up_to=None, batch_norm=True)
    frozen = [layer for layer in headless.layers if not layer.trainable]
    assert frozen
    for layer in frozen:
        assert isinstance(layer, keras.layers.BatchNormalization)


def test_freeze_can_be_undone(headless):
    keras_efficientnet.freeze(headless, up_to="top")
    assert not headless.trainable_weights
    keras_efficientnet.freeze(headless, up_to=0, batch_norm=False)
    assert headless.get_layer("block1a_bn").trainable


@pytest.mark.parametrize("up_to", ["top", 5])
def test_freeze_keeps_layers_of_the_user_trainable(headless, up_to):
    x = keras.layers.GlobalAveragePooling2D()(headless.output)
    model = keras.Model(headless.input, keras.layers.Dense(3, name="mine")(x))
    keras_efficientnet.freeze(model, up_to)
    assert model.get_layer("mine").trainable
    assert not model.get_layer("stem_conv").trainable
    assert not model.get_layer("input_normalization").trainable


def wrap(network):
    """Returns a model with the network as one layer between other layers."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(3, 1, name="colours"),
            network,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.BatchNormalization(name="own_bn"),
            keras.layers.Dense(2, name="mine"),
        ]
    )


@pytest.mark.parametrize("up_to", [None, 0, 3, "top"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_freeze_treats_a_nested_network_like_a_flat_one(headless, up_to, batch_norm):
    keras_efficientnet.freeze(headless, up_to, batch_norm)
    flat = {layer.name: layer.trainable for layer in headless.layers}
    nested = wrap(headless)
    nested.trainable = False
    keras_efficientnet.freeze(nested, up_to, batch_norm)
    assert {layer.name: layer.trainable for layer in headless.layers} == flat
    own = {name: nested.get_layer(name).trainable for name in ("colours", "own_bn")}
    assert own == {"colours": up_to is None, "own_bn": not batch_norm}
    assert nested.get_layer("mine").trainable


def test_freeze_overrides_an_untrainable_model(headless):
    model = keras_efficientnet.reset_classifier(headless, 2)
    model.trainable = False
    keras_efficientnet.freeze(model)
    assert [w.path for w in model.trainable_weights] == [
        "predictions/kernel",
        "predictions/bias",
    ]
    before = model.get_layer("predictions").get_weights()[0]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(np.full((4, 32, 32, 3), 9.0), np.array([0, 1, 1, 1]), verbose=0)
    assert np.any(model.get_layer("predictions").get_weights()[0] != before)


def test_freeze_overrides_an_untrainable_nested_network(
    headless,
):
    model = wrap(headless)
    model.trainable = False
    keras_efficientnet.freeze(model, up_to=6)
    trained = {w.path.split("/")[-2] for w in model.trainable_weights}
    assert trained == {
        "block7a_expand_conv",
        "block7a_dwconv",
        "block7a_se_reduce",
        "block7a_se_expand",
        "block7a_project_conv",
        "top_conv",
        "mine",
    }


def test_freeze_reaches_into_wrappers(headless):
    video = keras.Sequential(
        [
            keras.Input((2, 32, 32, 3)),
            keras.layers.TimeDistributed(headless),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="mine"),
        ]
    )
    keras_efficientnet.freeze(video)
    assert [w.path.split("/")[-2] for w in video.trainable_weights] == ["mine", "mine"]


def test_freeze_rejects_models_without_a_network():
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="out")])
    with pytest.raises(ValueError, match="network of this package.*a model of out"):
        keras_efficientnet.freeze(other)


@pytest.mark.parametrize("up_to", [8, -1, "head"])
def test_freeze_rejects_unknown_parts(headless, up_to):
    with pytest.raises(
        ValueError, match=f"`up_to` must be .* Received: up_to={up_to!r}"
    ):
        keras_efficientnet.freeze(headless, up_to=up_to)


def test_reset_classifier_accepts_numpy_integers(tiny):
    reset = keras_efficientnet.reset_classifier(tiny, np.int64(7))
    assert type(reset.get_layer("predictions").units) is int


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "`classes` must be .* Received: classes=0"),
        ({"classes": 2, "dropout": 1}, "`dropout` must be .* Received: dropout=1"),
    ],
)
def test_reset_classifier_rejects_invalid_arguments(tiny, arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_efficientnet.reset_classifier(tiny, **arguments)


def test_rejects_models_of_other_packages():
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="out")])
    with pytest.raises(ValueError, match="last layer is 'out'"):
        keras_efficientnet.feature_extractor(other)


SCALED = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize(
    "data",
    [
        SCALED,
        SCALED * 2 - 1,
        (SCALED, np.zeros(2)),
        {"image": SCALED, "label": np.zeros(2)},
        [(SCALED, np.zeros(2)), (SCALED, np.zeros(2))],
    ],
    ids=["array", "minus one to one", "tuple", "dict", "list of batches"],
)
def test_check_input_range_warns_about_scaled_images(data):
    with pytest.warns(UserWarning, match="must be pixels from 0 to 255"):
        assert transfer.check_input_range(data) is data


def test_check_input_range_is_silent_for_pixels():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transfer.check_input_range(SCALED * 255)
        transfer.check_input_range(np.zeros((1, 8, 8, 3)))  # a black image is valid


def test_check_input_range_keeps_the_first_batch_of_a_generator():
    batches = [(SCALED, 0), (SCALED, 1), (SCALED, 2)]
    with pytest.warns(UserWarning, match="Received: images from"):
        checked = transfer.check_input_range(iter(batches))
    assert [label for _, label in checked] == [0, 1, 2]
    assert list(transfer.check_input_range(iter([]))) == []


def test_check_input_range_accepts_a_tf_dataset():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((SCALED, [0, 1])).batch(2)
    with pytest.warns(UserWarning, match="0 to 255"):
        assert transfer.check_input_range(dataset) is dataset


def test_freezes_layers_beside_an_attribute_named_layers(tiny):
    class Head(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layers = [keras.layers.Dense(4)]
            self.norm = keras.layers.BatchNormalization()
            self.depth = keras.layers.Dense(2)

        def call(self, x, training=None):
            return self.depth(self.norm(self.layers[0](x), training=training))

    class Counted(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layers = 2

        def call(self, x):
            return x * self.layers

    inputs = keras.Input((32, 32, 3))
    head = Head()
    model = keras.Model(inputs, Counted()(head(tiny(inputs))))
    keras_efficientnet.freeze(model)
    assert not head.norm.trainable
    assert head.layers[0].trainable
    assert head.depth.trainable
