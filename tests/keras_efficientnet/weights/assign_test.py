import keras
import numpy as np
import pytest

from keras_efficientnet import efficientnet
from keras_efficientnet.weights import assign
from tests.support.weight_files.random_arrays import random_arrays


def build(depth=0.3, **options):
    options = {"classes": 7, **options}
    return efficientnet.EfficientNet(0.25, depth, 32, **options)


def current(model):
    return {
        f"{layer.name}/{weight.name}": weight.numpy()
        for layer in model.layers
        for weight in layer.weights
    }


def assert_holds(model, arrays):
    for name, array in current(model).items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def deeper():
    return build(depth=1.1)


@pytest.fixture(scope="module")
def headless():
    return build(include_top=False)


@pytest.fixture
def arrays(model):
    return random_arrays(model)


def refuse(model, arrays, match, ignored=()):
    """Expects an error that leaves the model unchanged."""
    before = current(model)
    with pytest.raises(ValueError, match=match) as caught:
        assign.assign(model, arrays, ignored, source="net.h5")
    assert_holds(model, before)
    return str(caught.value)


def test_sets_every_weight(model, arrays):
    assign.assign(model, arrays)
    assert_holds(model, arrays)


def test_missing_array_is_reported(model, arrays):
    del arrays["block2a_bn/gamma"]
    text = refuse(model, arrays, r"missing \(1\): block2a_bn/gamma")
    assert "'efficientnet'" in text
    assert "Received: net.h5" in text


def test_shortens_long_lists(model, arrays):
    for name in [name for name in arrays if name.startswith("block4")]:
        del arrays[name]
    refuse(model, arrays, r"missing \(\d\d\): (block4\w+/\w+, ){5}.* and \d+ more")


def test_unexpected_array_is_reported(model, arrays):
    arrays["block2a_bn/delta"] = np.zeros(3)
    arrays["count"] = np.zeros(())
    refuse(model, arrays, r"unexpected \(2\): block2a_bn/delta, count")


def test_misshapen_array_is_reported_with_both_shapes(model, arrays):
    arrays["stem_bn/beta"] = np.zeros((4, 2))
    refuse(model, arrays, r"shape \(1\): stem_bn/beta \(8,\), not \(4, 2\)")


def test_right_size_in_another_shape_is_reported(model, arrays):
    name = "block2a_project_conv/kernel"
    arrays[name] = arrays[name].transpose(3, 2, 0, 1)
    refuse(model, arrays, name)


def test_rejects_text(model, arrays):
    arrays["top_bn/beta"] = np.full(arrays["top_bn/beta"].shape, "x")
    refuse(model, arrays, r"top_bn/beta must hold real numbers. Received: <U1")


def test_skips_ignored_names(model, arrays):
    assign.assign(model, {**arrays, "step": np.zeros(2)}, ignored=["step"])
    assert_holds(model, arrays)


def test_an_ignored_weight_still_counts_as_missing(model, arrays):
    refuse(model, arrays, r"missing \(1\): top_bn/beta", ignored=["top_bn/beta"])


def test_rejects_deeper_and_shallower_networks(model, deeper, arrays):
    refuse(deeper, arrays, r"Weights must match(.|\n)* missing")
    refuse(model, random_arrays(deeper), r"Weights must match(.|\n)* unexpected")


def test_rejects_another_width(model):
    wide = efficientnet.EfficientNet(0.5, 0.3, 32, classes=7)
    refuse(model, random_arrays(wide), "of another shape")


def test_rejects_lite_for_non_lite_and_the_reverse(model):
    lite = build(lite=True)
    refuse(model, random_arrays(lite), "missing")
    refuse(lite, random_arrays(model), "unexpected")


# Number of blocks; channels of the stem, of the last block and of the head. Source:
# arXiv:1905.11946, Table 1, scaled; tensorflow/tpu, efficientnet_builder.py.
@pytest.mark.parametrize(
    ("variant", "marks"),
    [
        ("EfficientNetB0", (16, 32, 320, 1280)),
        ("EfficientNetB7", (55, 64, 640, 2560)),
        ("EfficientNetLite1", (21, 32, 320, 1280)),
        ("EfficientNetLite2", (21, 32, 352, 1280)),
    ],
)
def test_error_suggests_the_variant_of_the_file(model, variant, marks):
    blocks, stem, last, head = marks
    arrays = {f"block{i}a_dwconv/kernel": np.zeros(1) for i in range(blocks)}
    arrays["stem_conv/kernel"] = np.zeros((3, 3, 3, stem))
    arrays["top_conv/kernel"] = np.zeros((1, 1, last, head))
    if "Lite" not in variant:
        arrays["block1a_se_reduce/kernel"] = np.zeros(1)
    refuse(model, arrays, f"looks like {variant}")


def test_headless_model_skips_the_classifier(headless, arrays):
    assign.assign(headless, arrays)
    assert_holds(headless, arrays)


def test_headless_model_skips_nothing_else(headless, arrays):
    refuse(headless, {**arrays, "block7b_bn/beta": np.zeros(8)}, "block7b_bn/beta")
    refuse(headless, {**arrays, "block8a_bn/beta": np.zeros(8)}, "block8a_bn/beta")


def test_file_without_classifier_is_reported(model, headless):
    refuse(model, random_arrays(headless), "no classifier: load with `skip_head=True`")


# Names of classifiers in users' own checkpoints.
HEADS = {
    "one dense layer": {"fc.weight": (5, 40), "fc.bias": (5,)},
    "layers in a row": {
        "classifier.1.weight": (16, 40),
        "classifier.2.running_mean": (16,),
        "classifier.4.weight": (5, 16),
    },
    "keras": {"dense_1/kernel": (40, 5), "dense_1/bias": (5,)},
}


def with_head(arrays, key):
    kept = {n: a for n, a in arrays.items() if not n.startswith("predictions")}
    return kept | {name: np.ones(shape) for name, shape in HEADS[key].items()}


@pytest.mark.parametrize("key", HEADS)
def test_headless_model_skips_a_classifier_of_any_name_with_a_warning(
    headless, arrays, key
):
    (first, *_) = HEADS[key]
    with pytest.warns(UserWarning, match=rf"net.h5 has a classifier(.|\n)*{first}"):
        assign.assign(headless, with_head(arrays, key), source="net.h5")
    assert_holds(headless, arrays)


def test_skip_head_skips_a_classifier_of_another_name(model, arrays):
    before = current(model)["predictions/kernel"]
    with pytest.warns(UserWarning, match="skipped:\n  arrays .2.: fc.weight, fc.bias"):
        assign.assign(model, with_head(arrays, "one dense layer"), skip_head=True)
    assert_holds(model, {**arrays, **current(model)})
    np.testing.assert_array_equal(current(model)["predictions/kernel"], before)
    np.testing.assert_array_equal(current(model)["top_bn/beta"], arrays["top_bn/beta"])


def test_advice_names_a_classifier_of_another_name(model, arrays):
    given = with_head(arrays, "one dense layer")
    refuse(model, given, r"unexpected(.|\n)*classifier fc: load with `skip_head=True`")


@pytest.mark.parametrize(
    "name", ["optimizer/momentum", "decoder.0.weight", "metrics.total"]
)
def test_rejects_other_arrays_with_advice_to_ignore_them(headless, arrays, name):
    shapes = {"metrics.total": (), "decoder.0.weight": (8, 8, 3, 3)}
    extra = {name: np.zeros(shapes.get(name, (3, 3, 3, 8)))}
    advice = rf"unexpected(.|\n)*ignore=\['{name.replace('/', '.').split('.')[0]}"
    refuse(headless, {**arrays, **extra}, advice)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_feature_model_skips_later_layers(arrays, level):
    model = build(features=(level,))
    assign.assign(model, arrays)
    assert_holds(model, arrays)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_feature_model_rejects_a_deeper_file(deeper, level):
    model = build(features=(level,))
    refuse(model, random_arrays(deeper), "unexpected")


def test_feature_model_rejects_a_shallower_file(arrays):
    refuse(build(1.1, features=(2,)), arrays, "missing")


def test_error_states_both_numbers_of_classes(arrays):
    text = refuse(build(classes=5), arrays, "model has 5 classes, the file has 7")
    assert "`reset_classifier`" in text
    assert "`include_top=False`" in text


def test_stem_for_one_channel_is_the_sum_over_rgb(arrays):
    model = build(in_channels=1)
    assign.assign(model, arrays)
    expected = arrays["stem_conv/kernel"].sum(axis=2, keepdims=True)
    actual = current(model)["stem_conv/kernel"]
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("channels", [2, 4, 5, 7])
def test_stem_for_more_channels_repeats_rgb(arrays, channels):
    model = build(in_channels=channels)
    assign.assign(model, arrays)
    rgb = arrays["stem_conv/kernel"]
    for i, kernel in enumerate(np.moveaxis(current(model)["stem_conv/kernel"], 2, 0)):
        expected = rgb[:, :, i % 3] * 3 / channels
        np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_only_rgb_stems_are_adapted(model):
    four = random_arrays(build(in_channels=4))
    refuse(
        build(in_channels=5), four, r"stem_conv/kernel \(3, 3, 5, 8\), not \(3, 3, 4"
    )
    refuse(model, four, "stem_conv/kernel")


def test_warns_once_about_non_finite_values(model, arrays):
    arrays["block3a_bn/beta"][:2] = np.nan, np.inf
    with pytest.warns(UserWarning, match=r"(?s)net.h5 .* block3a_bn/beta \(2 of \d+\)"):
        assign.assign(model, arrays, source="net.h5")
    assert_holds(model, arrays)
    broken = {name: np.full_like(array, -np.inf) for name, array in arrays.items()}
    with pytest.warns(UserWarning, match=r"stem_conv/kernel .* and \d+ more") as caught:
        assign.assign(model, broken)
    assert len(caught) == 1


def test_warns_about_values_too_large_for_float32(model, arrays):
    large = {**arrays, "stem_bn/beta": np.full(arrays["stem_bn/beta"].shape, 1e300)}
    with pytest.warns(UserWarning, match="not finite:\n.*stem_bn/beta"):
        assign.assign(model, large)


def test_rounds_double_precision(model, arrays):
    assign.assign(model, {k: v.astype(np.float64) for k, v in arrays.items()})
    assert_holds(model, arrays)


def test_layers_before_the_stem_keep_their_weights(arrays):
    inputs = keras.Input((32, 32, 1))
    colours = keras.layers.Conv2D(3, 1, name="colours")(inputs)
    model = build(input_tensor=colours)
    before = current(model)["colours/kernel"]
    assign.assign(model, arrays)
    after = current(model)
    np.testing.assert_array_equal(after.pop("colours/kernel"), before)
    np.testing.assert_array_equal(after["top_bn/beta"], arrays["top_bn/beta"])


def test_layers_after_the_network_need_weights(headless, arrays):
    pooled = keras.layers.GlobalAveragePooling2D()(headless.output)
    outputs = keras.layers.Dense(2, name="mine")(pooled)
    refuse(keras.Model(headless.input, outputs), arrays, "missing .2.: mine/kernel")


def test_rejects_models_of_other_packages(model):
    inputs = keras.Input((32, 32, 3))
    outer = keras.Model(inputs, model(inputs), name="outer")
    with pytest.raises(ValueError, match=r"a network of this package.*model 'outer'"):
        assign.assign(outer, {})


def test_rejects_nested_models(headless):
    inner = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(5), keras.layers.Dense(5)]
    )
    pooled = keras.layers.GlobalAveragePooling2D()(headless.output)
    outputs = inner(keras.layers.Dense(5)(pooled))
    with pytest.raises(ValueError, match="must not contain another model"):
        assign.assign(keras.Model(headless.input, outputs), {})
