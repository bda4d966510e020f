import dataclasses

import keras
import numpy as np
import pytest

import keras_efficientnet
from training.config import TrainConfig
from training.engine import model

SMALL = TrainConfig(
    model="EfficientNet", width=0.25, depth=0.25, lite=True, image_size=32
)


def test_network_outputs_logits_and_its_copy_their_softmax():
    net = model.build(SMALL, 3)
    twin = model.with_probabilities(SMALL, net)
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits = net(x, training=False)
    np.testing.assert_allclose(
        twin(x, training=False), keras.ops.softmax(logits), rtol=1e-5
    )


@pytest.mark.parametrize(("sizes", "side"), [("24", None), ("32", 32), ("", 32)])
def test_input_size_is_open_with_progressive_resizing(sizes, side):
    config = dataclasses.replace(SMALL, progressive_sizes=sizes)
    assert model.build(config, 3).input_shape[1] == side


def test_final_model_of_half_precision_is_float32():
    half = dataclasses.replace(SMALL, precision="mixed_bfloat16")
    before = keras.config.dtype_policy()
    net = model.build(half, 3)
    assert net.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert net.output.dtype == "float32"
    twin = model.with_probabilities(half, net)
    assert {layer.compute_dtype for layer in twin.layers} == {"float32"}
    assert keras.config.dtype_policy() == before


def test_named_variant_has_its_own_dropout_unless_overridden():
    b2 = TrainConfig(model="b2", image_size=32)
    assert b2.architecture.dropout == 0.3
    assert dataclasses.replace(b2, dropout=0.0).architecture.dropout == 0.0
    assert SMALL.architecture.dropout == 0.2


def test_pretrained_features_get_a_new_classifier(tmp_path):
    donor = keras_efficientnet.EfficientNetLite0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    path = tmp_path / "donor.weights.h5"
    donor.save_weights(path)
    config = TrainConfig(model="lite0", image_size=32, weights=str(path))
    net = model.build(config, 3)
    assert net.output_shape == (None, 3)
    kernel = net.get_layer("block3a_dwconv").get_weights()[0]
    np.testing.assert_array_equal(
        kernel, donor.get_layer("block3a_dwconv").get_weights()[0]
    )
    twin = model.with_probabilities(config, net)
    for a, b in zip(net.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["EfficientNet", "efficientnet"])
def test_general_network_follows_width_and_depth(name):
    net = model.build(dataclasses.replace(SMALL, model=name), 3)
    assert net.input_shape == (None, 32, 32, 3)
    assert net.get_layer("block7a_project_conv").filters == 80  # 320 * 0.25


def test_progressive_network_takes_any_size_and_its_copy_the_last():
    several = dataclasses.replace(SMALL, image_size=48, progressive_sizes="32,40,48")
    net = model.build(several, 3)
    assert net.input_shape == (None, None, None, 3)
    for size in several.sizes:
        assert net(np.ones((1, size, size, 3), np.float32)).shape == (1, 3)
    twin = model.with_probabilities(several, net)
    assert twin.input_shape == (None, 48, 48, 3)
    fixed = model.build(dataclasses.replace(several, progressive_sizes=None), 3)
    assert [w.path for w in fixed.weights] == [w.path for w in net.weights]


def test_batch_norm_is_synchronised_in_training_only():
    together = dataclasses.replace(SMALL, sync_batch_norm=True)
    net = model.build(together, 3)
    twin = model.with_probabilities(together, net)
    for found, expected in ((net, True), (twin, False)):
        assert found.get_layer("stem_bn").synchronized is expected


# Source: tensorflow/tpu, models/official/efficientnet, utils.py.
@pytest.mark.parametrize(
    ("replicas", "size"),
    [(1, 1), (2, 1), (8, 1), (16, 8), (32, 8), (64, 8), (128, 16), (1024, 128)],
)
def test_batch_norm_groups_follow_the_original_s_rule(replicas, size):
    assert model.bn_group_size(SMALL, replicas) == size
    for field in ("sync_batch_norm", "freeze_batch_norm"):
        other = dataclasses.replace(SMALL, **{field: True})
        assert model.bn_group_size(other, replicas) == 1


def test_batch_norm_groups_can_be_chosen():
    config = dataclasses.replace(SMALL, bn_group_size=4)
    assert model.bn_group_size(config, 4) == model.bn_group_size(config, 32) == 4


@pytest.mark.parametrize(
    ("size", "received"), [(None, "bn_group_size=None, which means 8"), (5, "=5$")]
)
def test_rejects_groups_that_do_not_divide_the_replicas(size, received):
    config = dataclasses.replace(SMALL, bn_group_size=size)
    with pytest.raises(ValueError, match=rf"1, 2, 3, 4, 6, 12 do for 12.*{received}"):
        model.bn_group_size(config, 12)


# Source: google/automl, efficientnetv2/utils.py: min(8, replicas).
@pytest.mark.parametrize(("replicas", "size"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_batch_norm_groups_of_v2_follow_its_code(replicas, size):
    v2 = TrainConfig(model="v2s")
    assert model.bn_group_size(v2, replicas) == size


@pytest.mark.parametrize(
    ("family", "activation", "momentum", "last"),
    [
        ("v1", "silu", 0.99, "block7a_project_conv"),
        ("lite", "relu6", 0.99, "block7a_project_conv"),
        ("v2", "silu", 0.9, "block6b_project_conv"),
        ("edgetpu", "relu", 0.99, "block6a_project_conv"),
    ],
)
def test_general_network_has_the_conventions_of_its_family(
    family, activation, momentum, last
):
    config = dataclasses.replace(SMALL, lite=False, family=family)
    config.validate()
    net = model.build(config, 3)
    assert net.get_layer("stem_activation").activation.__name__ == activation
    assert net.get_layer("stem_bn").momentum == momentum
    assert [la.name for la in net.layers if la.name.endswith("project_conv")][-1] == (
        last
    )
    cost = keras_efficientnet.plan_cost(config.architecture, 3)
    assert cost.params == net.count_params()


def test_dropout_changes_without_new_weights():
    net = model.build(dataclasses.replace(SMALL, dropout=0.5), 3)
    before = list(net.variables)
    model.set_dropout(net, 0.1)
    assert net.get_layer("top_dropout").rate == 0.1
    assert all(a is b for a, b in zip(before, net.variables, strict=True))
    x = np.ones((2000, net.get_layer("top_dropout").input.shape[-1]), np.float32)
    dropped = np.mean(net.get_layer("top_dropout")(x, training=True) == 0)
    assert dropped == pytest.approx(0.1, abs=0.01)
    model.set_dropout(model.build(dataclasses.replace(SMALL, dropout=0.0), 3), 0.1)
