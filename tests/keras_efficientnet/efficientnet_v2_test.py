"""EfficientNetV2 and EfficientNet-EdgeTPU.

Source of the goldens: google/automl, efficientnetv2 (effnetv2_configs.py and the
parameter counts of effnetv2_model_test.py); tensorflow/tpu, edgetpu. The counts agree
with torchvision's `num_params` and keras.applications' `count_params`.
"""

import inspect
import itertools
import math

import keras
import numpy as np
import pytest

import keras_efficientnet
from keras_efficientnet import architecture, efficientnet_v2
from keras_efficientnet.architecture import (
    VARIANTS,
    block_plan,
    reduction_blocks,
    scaled_variant,
)
from keras_efficientnet.cost import plan_cost

# Stem; stage outputs; head; repeats; output grid.
RESOLVED = """
V2B0 32 | 16 32 48 96 112 192 | 1280 | 1 2 2 3 5 8 | 7
V2B1 32 | 16 32 48 96 112 192 | 1280 | 2 3 3 4 6 9 | 8
V2B2 32 | 16 32 56 104 120 208 | 1408 | 2 3 3 4 6 10 | 9
V2B3 40 | 16 40 56 112 136 232 | 1536 | 2 3 3 5 7 12 | 10
V2S 24 | 24 48 64 128 160 256 | 1280 | 2 4 4 6 9 15 | 12
V2M 24 | 24 48 80 160 176 304 512 | 1280 | 3 5 5 7 14 18 5 | 15
V2L 32 | 32 64 96 192 224 384 640 | 1280 | 4 7 7 10 19 25 7 | 15
V2XL 32 | 32 64 96 192 256 512 640 | 1280 | 4 8 8 16 24 32 8 | 16
EdgeTPUS 32 | 24 32 48 96 144 192 | 1280 | 1 2 4 5 4 2 | 7
EdgeTPUM 32 | 24 32 48 96 144 192 | 1280 | 2 3 5 6 5 3 | 8
EdgeTPUL 40 | 32 40 56 112 176 232 | 1536 | 2 3 6 7 6 3 | 10
"""
# Trainable and all parameters, G multiply-adds at the evaluation size.
COUNTS = {
    "EfficientNetV2B0": (7_139_704, 7_200_312, 0.718),
    "EfficientNetV2B1": (8_141_052, 8_212_124, 1.197),
    "EfficientNetV2B2": (10_096_086, 10_178_374, 1.698),
    "EfficientNetV2B3": (14_358_406, 14_467_622, 3.011),
    "EfficientNetV2S": (21_458_488, 21_612_360, 8.366),
    "EfficientNetV2M": (54_139_356, 54_431_388, 24.58),
    "EfficientNetV2L": (118_515_272, 119_027_848, 56.08),
    "EfficientNetV2XL": (208_119_808, 208_896_832, 93.35),
    "EfficientNetEdgeTPUS": (5_438_392, None, 1.789),
    "EfficientNetEdgeTPUM": (6_899_496, None, 3.013),
    "EfficientNetEdgeTPUL": (10_589_712, None, 7.936),
}
# All parameters with the 21,843 classes of ImageNet-21k.
COUNTS_21K = {
    "EfficientNetV2B0": 33_900_195,
    "EfficientNetV2B3": 46_503_313,
    "EfficientNetV2S": 48_312_243,
    "EfficientNetV2XL": 235_596_715,
}
DROPOUT = dict(
    zip(COUNTS, (0.2, 0.2, 0.3, 0.3, 0.2, 0.3, 0.4, 0.4, 0.2, 0.2, 0.3), strict=True)
)
ROWS = {
    "EfficientNet" + line.split()[0]: [
        [int(number) for number in part.split() if number.isdigit()]
        for part in line.split("|")
    ]
    for line in RESOLVED.strip().splitlines()
}
TINY = {"width": 0.25, "depth": 0.3, "resolution": 32}


@pytest.mark.parametrize("key", ROWS)
def test_channels_repeats_and_sizes(key):
    variant = VARIANTS[key]
    stem, outputs, head, repeats, grid = ROWS[key]
    plan = block_plan(variant)
    stages = [list(group) for _, group in itertools.groupby(plan, lambda b: b.stage)]
    assert [variant.stem_filters] == stem
    assert [stage[-1].filters_out for stage in stages] == outputs
    assert [variant.head_filters] == head
    assert [len(stage) for stage in stages] == repeats
    assert variant.dropout == DROPOUT[key]
    side = math.ceil(variant.resolution / 2)
    for block in plan:
        side = math.ceil(side / block.stride)
    assert [side] == grid


@pytest.mark.parametrize("key", COUNTS)
def test_parameters_and_multiply_adds(key):
    cost = plan_cost(VARIANTS[key])
    trainable, total, giga = COUNTS[key]
    assert cost.trainable_params == trainable
    assert total in (None, cost.params)
    assert cost.multiply_adds / 1e9 == pytest.approx(giga, rel=0.001)


@pytest.mark.parametrize("key", COUNTS_21K)
def test_parameters_with_the_classes_of_imagenet_21k(key):
    assert plan_cost(VARIANTS[key], classes=21_843).params == COUNTS_21K[key]


@pytest.mark.parametrize("key", ROWS)
def test_drop_rates_rise_evenly_over_all_blocks(key):
    """automl counts the blocks after scaling; keras.applications before it."""
    rates = [block.drop_rate for block in block_plan(VARIANTS[key], 0.2)]
    n = len(rates)
    assert rates == pytest.approx([0.2 * i / n for i in range(n)])


def test_first_edgetpu_block_expands_its_nominal_input():
    """The stem gives 32 and 40 channels; the block expands 24 and 32 fourfold."""
    for key, expanded in (("EdgeTPUS", 96), ("EdgeTPUM", 96), ("EdgeTPUL", 128)):
        first, *others = block_plan(VARIANTS[f"EfficientNet{key}"])
        assert first.expanded == expanded
        assert not first.has_skip
        assert all(b.expanded == b.filters_in * b.expand for b in others)


def test_squeeze_excite_is_in_mbconv_stages_of_v2_only():
    for key in ROWS:
        for block in block_plan(VARIANTS[key]):
            has_se = "V2" in key and block.kind == "mbconv"
            assert block.se_filters == (block.filters_in // 4 if has_se else 0)


def test_reduction_levels():
    plan = block_plan(VARIANTS["EfficientNetV2M"])
    ends = {1: "block1c", 2: "block2e", 3: "block3e", 4: "block5n", 5: "block7e"}
    assert reduction_blocks(plan) == ends
    assert max(reduction_blocks(block_plan(VARIANTS["EfficientNetEdgeTPUS"]))) == 5


# Signatures.


@pytest.mark.parametrize("key", ROWS)
def test_positional_arguments_are_those_of_keras_applications(key):
    theirs = inspect.signature(keras.applications.EfficientNetV2S).parameters
    ours = inspect.signature(getattr(keras_efficientnet, key)).parameters
    positional = [p for p in ours.values() if p.kind is not p.KEYWORD_ONLY]
    assert [p.name for p in positional] == list(theirs)
    if hasattr(keras.applications, key):
        theirs = inspect.signature(getattr(keras.applications, key)).parameters
        assert [p.default for p in positional] == [p.default for p in theirs.values()]


def test_the_module_has_every_name_of_keras_applications():
    theirs = {n for n in dir(keras.applications.efficientnet_v2) if n[0] != "_"}
    assert (
        {"EfficientNetV2S", "preprocess_input"} <= theirs <= set(dir(efficientnet_v2))
    )


@pytest.mark.parametrize(
    ("key", "spelling"),
    [
        ("EfficientNetV2S", "efficientnetv2-s"),
        ("EfficientNetV2B0", "v2b0"),
        ("EfficientNetEdgeTPUL", "efficientnet-edgetpu-L"),
    ],
)
def test_find_variant_takes_common_spellings(key, spelling):
    assert architecture.find_variant(spelling) == key


# Outputs.


def randomize(model):
    """Gives batch normalisation statistics; small ones on the residual path."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        shape = layer.gamma.shape
        low, high = (0.1, 0.3) if "project" in layer.name else (0.8, 1.2)
        layer.set_weights(
            [
                rng.uniform(low, high, shape),
                rng.normal(0, 0.1, shape),
                rng.normal(0, 0.1, shape),
                rng.uniform(0.5, 1.5, shape),
            ]
        )


def copy_by_name(source, target):
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


@pytest.mark.parametrize(
    ("key", "side"),
    [
        ("EfficientNetV2B0", 64),
        pytest.param("EfficientNetV2B3", 96, marks=pytest.mark.slow),
        pytest.param("EfficientNetV2S", 128, marks=pytest.mark.slow),
    ],
)
def test_outputs_equal_keras_applications(key, side):
    """Golden: keras.applications, its weights and its own normalisation."""
    options = {"weights": None, "classifier_activation": None}
    headless = {"include_top": False, "pooling": "avg"}
    theirs = getattr(keras.applications, key)(**options, input_shape=(side, side, 3))
    randomize(theirs)
    ours = getattr(keras_efficientnet, key)(**options, input_shape=(None, None, 3))
    copy_by_name(theirs, ours)
    odd = (95, 77, 3)
    their_odd = getattr(keras.applications, key)(**options, **headless, input_shape=odd)
    copy_by_name(theirs, their_odd)
    our_odd = keras.Model(ours.input, ours.get_layer("avg_pool").output)
    for theirs_, ours_, shape in (
        (theirs, ours, (1, side, side, 3)),
        (their_odd, our_odd, (1, *odd)),
    ):
        images = np.random.default_rng(1).uniform(0, 255, shape).astype("float32")
        expected = keras.ops.convert_to_numpy(theirs_(images))
        actual = keras.ops.convert_to_numpy(ours_(images))
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_layer_names_are_those_of_keras_applications():
    ours = keras_efficientnet.EfficientNetV2B0(weights=None)
    theirs = keras.applications.EfficientNetV2B0(weights=None)
    names = [layer.name for layer in ours.layers if layer.weights]
    assert names == [
        la.name for la in theirs.layers if la.weights and la.name[:4] != "norm"
    ]
    assert "block4a_dwconv2" in names
    added = {layer.name for layer in ours.layers} - {la.name for la in theirs.layers}
    assert added <= {"input_normalization", ours.layers[0].name}
    assert ours.get_layer("top_bn").momentum == theirs.get_layer("top_bn").momentum


# Preprocessing.


def test_own_preprocessing_equals_the_models():
    options = {"weights": None, "classes": 3, "input_shape": (32, 32, 3)}
    whole = keras_efficientnet.EfficientNetV2B0(**options)
    bare = keras_efficientnet.EfficientNetV2B0(**options, include_preprocessing=False)
    bare.set_weights(whole.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalized = ((pixels / 255 - mean) / std).astype("float32")
    expected = whole.predict(pixels.astype("float32"), verbose=0)
    np.testing.assert_allclose(bare.predict(normalized, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "kind"),
    [("B3", "imagenet"), ("S", "inception128"), ("XL", "inception128")],
)
def test_normalization_is_that_of_the_published_weights(key, kind):
    """Source: google/automl, efficientnetv2/preprocessing.py: V1's for B0 to B3."""
    assert VARIANTS[f"EfficientNetV2{key}"].normalization == kind


def test_rejects_own_preprocessing_together_with_a_normalization():
    with pytest.raises(
        ValueError, match="include_preprocessing=False, normalization='inception'"
    ):
        keras_efficientnet.EfficientNetV2B0(
            weights=None, include_preprocessing=False, normalization="inception"
        )


def test_rejects_own_preprocessing_of_integers():
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    with pytest.raises(
        ValueError, match="include_preprocessing=False, input_tensor of dtype uint8"
    ):
        keras_efficientnet.EfficientNetEdgeTPUS(
            weights=None, include_preprocessing=False, input_tensor=inputs
        )


# Everything else works as for the first family.


@pytest.fixture(scope="module", params=["v2", "edgetpu"])
def small(request):
    return keras_efficientnet.EfficientNet(**TINY, classes=4, family=request.param)


def test_activations_follow_the_family(small):
    kinds = {la.activation.__name__ for la in small.layers if "_activation" in la.name}
    has_se = any("_se_" in la.name for la in small.layers)
    assert kinds == ({"silu"} if has_se else {"relu"})


def test_freezes_up_to_a_stage(small):
    keras_efficientnet.freeze(small, up_to=3)
    trainable = {la.name.split("_")[0] for la in small.layers if la.trainable_weights}
    assert trainable >= {"block4a", "block6a", "top", "predictions"}
    assert not trainable & {"stem", "block1a", "block2a", "block3a"}
    keras_efficientnet.freeze(small, up_to=None, batch_norm=False)
    assert small.get_layer("block1a_project_bn").trainable_weights


def test_class_maps(small):
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    open_model = keras_efficientnet.EfficientNet(
        **TINY,
        classes=4,
        family="v2" if any("_se_" in la.name for la in small.layers) else "edgetpu",
        input_shape=(None, None, 3),
    )
    maps = keras_efficientnet.class_maps(open_model, images, [1, 2])
    assert maps.shape == (2, 2, 2)


def test_saving_needs_no_class_of_this_package(small, tmp_path):
    small.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    np.testing.assert_array_equal(again.predict(images), small.predict(images))
    assert all(type(la).__module__.startswith("keras.") for la in small.layers)


def test_trains_in_mixed_precision(policy):
    policy("mixed_bfloat16")
    rows = (
        keras_efficientnet.Stage(1, 3, 2, 4, 16, kind="fused"),
        keras_efficientnet.Stage(1, 3, 2, 4, 24),
    )
    model = keras_efficientnet.EfficientNet(
        0.25, 1.0, 32, classes=4, family="v2", stages=rows, head_filters=64
    )
    assert model.get_layer("block1a_expand_conv").compute_dtype == "bfloat16"
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3))
    model.compile("sgd", "sparse_categorical_crossentropy")
    losses = model.fit(images, np.arange(8) % 4, verbose=0).history["loss"]
    assert np.isfinite(losses).all()


def test_features_of_v2b0():
    model = keras_efficientnet.EfficientNetV2B0(
        weights=None, input_shape=(64, 64, 3), features=(1, 2, 3, 4, 5)
    )
    assert [tuple(v.shape[1:]) for v in model.output.values()] == [
        *((32, 32, 16), (16, 16, 32), (8, 8, 48), (4, 4, 112), (2, 2, 192))
    ]


def test_from_phi_builds_what_fit_budget_finds():
    fit = keras_efficientnet.fit_budget(flops=5e6, family="v2", classes=4)
    model = keras_efficientnet.from_phi(fit.phi, family="v2", classes=4)
    cost = keras_efficientnet.profile(model)
    assert cost.multiply_adds == fit.cost.multiply_adds
    assert cost.params == fit.cost.params


def test_squeeze_excite_in_a_fused_stage_acts_on_the_expanded_channels():
    rows = (
        keras_efficientnet.Stage(1, 3, 1, 4, 16, se_ratio=0.5, kind="fused"),
        keras_efficientnet.Stage(1, 3, 2, 1, 24, se_ratio=0.25, kind="fused"),
    )
    model = keras_efficientnet.EfficientNet(1.0, 1.0, 8, stages=rows, stem_filters=8)
    assert model.get_layer("block1a_se_expand").filters == 32
    assert model.get_layer("block2a_se_expand").filters == 16
    variant = architecture.Variant(1, 1, 8, 0.2, False, rows, 8)
    assert plan_cost(variant).params == model.count_params()


@pytest.mark.parametrize("family", ["v2", "edgetpu"])
def test_a_lite_net_of_another_family_is_rejected(family):
    with pytest.raises(ValueError, match=f"lite=True, family='{family}'"):
        keras_efficientnet.EfficientNet(**TINY, lite=True, family=family)
    with pytest.raises(ValueError, match=f"lite=True, family='{family}'"):
        architecture.Variant(1, 1, 32, 0.2, True, family=family)


def test_unknown_family_is_reported_with_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'edgetpu'"):
        scaled_variant("edge_tpu", 1.0, 1.0, 32, 0.2)
