import csv

import keras
import pytest

import keras_efficientnet
from keras_efficientnet import cost
from keras_efficientnet.architecture import VARIANTS, Variant, scaled_variant
from keras_efficientnet.cost.planning import plan_cost
from keras_efficientnet.efficientnet import build
from tests.support.paths import DATA

# Trainable parameters, and all including moving statistics. Source: original graph code
# (tensorflow/tpu); Lite also in its efficientnet_lite_builder_test.py.
PARAMS = {
    "EfficientNetB0": (5_288_548, 5_330_564),
    "EfficientNetB1": (7_794_184, 7_856_232),
    "EfficientNetB2": (9_109_994, 9_177_562),
    "EfficientNetB3": (12_233_232, 12_320_528),
    "EfficientNetB4": (19_341_616, 19_466_816),
    "EfficientNetB5": (30_389_784, 30_562_520),
    "EfficientNetB6": (43_040_704, 43_265_136),
    "EfficientNetB7": (66_347_960, 66_658_680),
    "EfficientNetB8": (87_413_142, 87_793_174),
    "EfficientNetL2": (480_309_308, 481_399_996),
    "EfficientNetLite0": (4_652_008, 4_694_024),
    "EfficientNetLite1": (5_416_680, 5_470_344),
    "EfficientNetLite2": (6_092_072, 6_150_168),
    "EfficientNetLite3": (8_197_096, 8_273_768),
    "EfficientNetLite4": (13_006_568, 13_118_936),
}
TABLE_2 = DATA / "table2_family.csv"


@pytest.mark.parametrize("key", PARAMS)
def test_planned_parameters(key):
    plan = plan_cost(VARIANTS[key])
    assert (plan.trainable_params, plan.params) == PARAMS[key]


def test_multiply_adds_are_within_7_percent_of_the_paper():
    """Source: arXiv:1905.11946, Table 2, column FLOPs."""
    rows = list(csv.DictReader(TABLE_2.read_text().splitlines()))
    assert len(rows) == 8
    for row in rows:
        computed = plan_cost(VARIANTS[row["model"]]).multiply_adds / 1e9
        printed = float(row["flops_B"])
        assert computed == pytest.approx(printed, rel=0.07), (row["model"], computed)


def test_multiply_adds_of_lite0_are_near_its_published_number():
    """Source: tensorflow/tpu, lite/README.md: 407 M, which includes the additions of
    biases and batch normalisation that we do not count."""
    computed = plan_cost(VARIANTS["EfficientNetLite0"]).multiply_adds
    assert computed == pytest.approx(407e6, rel=0.07)


def test_multiply_adds_of_b0():
    assert 385e6 <= plan_cost(VARIANTS["EfficientNetB0"]).multiply_adds <= 390e6


@pytest.mark.parametrize(
    ("family", "width", "depth", "size", "dropout"),
    [
        ("v1", 0.4, 1.1, 65, 0.2),
        ("lite", 0.4, 0.5, 47, 0.0),
        ("v2", 0.4, 0.5, 65, 0.2),
        ("edgetpu", 0.4, 0.5, 47, 0.0),
    ],
)
def test_plan_equals_the_profile_of_the_built_model(
    family, width, depth, size, dropout
):
    variant = scaled_variant(family, width, depth, size, dropout)
    planned = plan_cost(variant, classes=7, channels=1)
    model = build(variant, classes=7, in_channels=1)
    profiled = cost.profile(model)
    assert profiled.layers[1:] == planned.layers[1:]
    assert profiled.params == model.count_params()
    assert profiled.peak_activation_bytes == planned.peak_activation_bytes


def test_profile_of_a_dynamic_input_shape_requires_the_size(tiny):
    open_model = keras_efficientnet.EfficientNet(0.25, 0.3, 32, include_top=False)
    with pytest.raises(ValueError, match=r"`input_shape` must be given"):
        cost.profile(open_model)
    counted = cost.profile(open_model, (32, 32, 3))
    whole = cost.profile(tiny)
    classifier = whole.layers[-1].multiply_adds
    assert counted.multiply_adds == whole.multiply_adds - classifier


def test_profile_by_hand():
    """2x2 valid kernels: 3*3 positions * 4 * 2 in * 5 out; dense 45 -> 7."""
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(5, 2)(inputs)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(7)(x))
    counted = cost.profile(model)
    assert counted.multiply_adds == 9 * 4 * 2 * 5 + 45 * 7
    assert counted.params == (4 * 2 * 5 + 5) + (45 * 7 + 7)
    # float32: input 32, convolution 45; both are in memory at the same time.
    assert counted.peak_activation_bytes == 4 * (45 + 45)


def test_profile_keeps_both_ends_of_a_skip_connection():
    inputs = keras.Input((2, 2, 1))
    a = keras.layers.Conv2D(3, 1)(inputs)
    b = keras.layers.Conv2D(3, 1)(a)
    model = keras.Model(inputs, keras.layers.Add()([a, b]))
    assert cost.profile(model).peak_activation_bytes == 3 * 12 * 4  # a, b and their sum


def test_profile_counts_shared_weights_once_and_their_multiply_adds_twice():
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, dense(dense(inputs)))
    counted = cost.profile(model)
    assert (counted.params, counted.multiply_adds) == (9, 18)


def test_profile_includes_nested_models(tiny):
    wrapped = keras.Sequential([keras.Input((32, 32, 3)), tiny, keras.layers.Dense(2)])
    counted, inner = cost.profile(wrapped), cost.profile(tiny)
    assert counted.multiply_adds == inner.multiply_adds + 4 * 2
    assert counted.params == wrapped.count_params()
    assert counted.peak_activation_bytes == inner.peak_activation_bytes


def test_half_precision_halves_activation_bytes(policy):
    variant = Variant(0.25, 0.3, 32, 0.2)
    full = build(variant, classes=4)
    policy("mixed_bfloat16")
    mixed = build(variant, classes=4)
    by_name = {row.name: row for row in cost.profile(full).layers}
    for row in cost.profile(mixed).layers:
        if row.name.startswith("block"):
            assert row.activation_bytes * 2 == by_name[row.name].activation_bytes


def test_profile_counts_layers_without_weights_as_free(tiny):
    """These are augmentation, noise, Lambda and arithmetic on pixels."""
    inputs = keras.Input((32, 32, 3))
    augment = keras.Sequential(
        [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)]
    )
    x = keras.layers.RandomContrast(0.1)(augment(inputs))
    x = keras.layers.GaussianNoise(0.1)(x / 2.0 + 1)
    x = keras.layers.Lambda(lambda pixels: pixels * 2)(x)
    model = keras.Model(inputs, tiny(keras.ops.clip(x, 0, 255)))
    counted, inner = cost.profile(model), cost.profile(tiny)
    assert counted.multiply_adds == inner.multiply_adds
    assert counted.params == inner.params
    assert counted.trainable_params == inner.trainable_params


def test_profile_supports_operations_with_several_outputs():
    """By hand: 4 channels in two halves, multiplied; dense 2 -> 3."""
    inputs = keras.Input((4,))
    a, b = keras.ops.split(inputs, 2, axis=-1)
    counted = cost.profile(keras.Model(inputs, keras.layers.Dense(3)(a * b)))
    assert counted.multiply_adds == 2 * 3
    assert [row.activation_bytes for row in counted.layers] == [16, 16, 8, 12]


def memory():
    inputs = keras.Input((4, 4))
    return keras.Model(inputs, keras.layers.LSTM(2, name="memory")(inputs))


def product():
    inputs = keras.Input((4, 4))
    return keras.Model(inputs, keras.layers.Dot(1, name="product")([inputs, inputs]))


@pytest.mark.parametrize(
    ("build_model", "name", "kind"),
    [(memory, "memory", "LSTM"), (product, "product", "Dot")],
)
def test_profile_names_an_unknown_layer_and_accepts_its_cost(build_model, name, kind):
    model = build_model()
    advice = rf"multiply_adds={{'{name}': 1000}}.*layer '{name}' of type {kind}"
    with pytest.raises(ValueError, match=advice):
        cost.profile(model)
    assert cost.profile(model, multiply_adds={name: 77}).multiply_adds == 77


class Subclass(keras.Model):
    def call(self, images):
        return images


def test_profile_rejects_models_without_a_graph():
    with pytest.raises(ValueError, match=r"functional.*of class Subclass"):
        cost.profile(Subclass())
    with pytest.raises(ValueError, match=r"functional.*of class Sequential"):
        cost.profile(keras.Sequential([keras.layers.Dense(2)]))


def test_profile_rejects_several_inputs():
    inputs = [keras.Input((4,), name="left"), keras.Input((4,), name="right")]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    with pytest.raises(ValueError, match="one input.* with 2: left, right"):
        cost.profile(model)
