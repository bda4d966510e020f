"""Names, shapes and logits of other projects' files, recorded with their own code."""

import hashlib

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from keras_efficientnet import efficientnet
from keras_efficientnet.weights import (
    load_weights,
    name_mapping,
    naming_schemes,
    reference_logits,
)
from tests.support.paths import DATA

GOLDEN = DATA / "weights_peers.npz"
TENSORFLOW = {"padding": "same", "bn_epsilon": 1e-3}
TORCH = {"padding": "symmetric", "bn_epsilon": 1e-5}
# Our arguments for the networks of these projects.
PEERS = {
    "lukemelas": TENSORFLOW,
    "timm_tf": TENSORFLOW,
    "timm_tf_lite": {**TENSORFLOW, "lite": True},
    "timm": TORCH,
    "timm_lite": {**TORCH, "lite": True},
    "geffnet": TENSORFLOW,
    "torchvision": TORCH,
    "transformers": TENSORFLOW,
    "tpu": TENSORFLOW,
    "tpu_lite": {**TENSORFLOW, "lite": True},
    "automl": {**TENSORFLOW, "family": "v2"},
    "timm_tf_v2": {**TENSORFLOW, "family": "v2"},
    "timm_v2": {**TORCH, "family": "v2"},
    "timm_tf_edgetpu": {**TENSORFLOW, "family": "edgetpu"},
    "timm_edgetpu": {**TORCH, "family": "edgetpu"},
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def value(name, shape):
    """Returns the weights that the reference networks were recorded with."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    rng = np.random.default_rng(seed)
    if name.endswith(("running_var", "moving_variance")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name.endswith(("bias", "running_mean", "beta", "moving_mean")):
        return rng.normal(0, 0.2, shape).astype(np.float32)
    if len(shape) <= 1:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    ends = 2 if "depthwise_kernel" in name else -1
    fan = int(np.prod(shape[1:] if "." in name else shape[:ends]))
    return rng.normal(0, (2 / fan) ** 0.5, shape).astype(np.float32)


def state_dict(golden, peer):
    arrays = {}
    for row in golden[f"{peer}/names"].tolist():
        name, shape = row.split(" ")
        sizes = tuple(int(size) for size in shape.split(",") if size)
        counts = name.endswith("num_batches_tracked")
        arrays[name] = np.array(5) if counts else value(name, sizes)
    return arrays


def build(peer, **options):
    return efficientnet.EfficientNet(
        0.5,
        0.3,
        32,
        classes=7,
        classifier_activation=None,
        normalization="imagenet",
        **PEERS[peer],
        **options,
    )


@pytest.fixture(scope="module", params=PEERS)
def peer(request):
    return request.param


@pytest.fixture(scope="module")
def model(peer):
    return build(peer)


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


def test_logits_equal_the_reference(golden, peer, model, tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(state_dict(golden, peer), path)
    load_weights(model, path)
    logits = keras.ops.convert_to_numpy(model(images()))
    expected = golden[f"{peer}/logits"]
    # Rounding grows with the logits, which are up to 18.
    tolerance = 1e-5 * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("prefix", ["module.", "model.backbone."])
def test_removes_prefixes_of_wrappers(golden, peer, model, prefix):
    arrays = state_dict(golden, peer)
    wrapped = {prefix + name: array for name, array in arrays.items()}
    expected = name_mapping.to_model_names(arrays, model)
    mapped = name_mapping.to_model_names(wrapped, model)
    assert mapped.arrays.keys() == expected.arrays.keys()
    assert mapped.scheme == expected.scheme


def test_names_blocks_without_a_model(golden, peer, model):
    arrays = state_dict(golden, peer)
    alone = name_mapping.to_model_names(arrays)
    assert (
        alone.arrays.keys() == name_mapping.to_model_names(arrays, model).arrays.keys()
    )


def test_rejects_missing_and_additional_arrays(golden, peer, model, tmp_path):
    arrays = state_dict(golden, peer)
    before = model.get_weights()
    path = tmp_path / "odd.safetensors"
    for name in (*list(arrays)[::60], list(arrays)[-1]):
        fewer = {k: v for k, v in arrays.items() if k != name}
        more = {**arrays, name.rpartition(".")[0] + ".odd": np.zeros(3, np.float32)}
        for changed in (fewer, more):
            safetensors.numpy.save_file(changed, path)
            with pytest.raises(ValueError, match="missing|unexpected|known naming"):
                load_weights(model, path)
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize(
    "peer", ["timm", "timm_lite", "geffnet", "timm_v2", "timm_edgetpu"]
)
def test_maps_our_names_to_timm(golden, peer):
    arrays = state_dict(golden, peer)
    ours = name_mapping.to_model_names(arrays).arrays
    layers = {name.split("/")[0] for name in ours}
    made = {naming_schemes.to_timm(name, layers) for name in ours}
    assert made == {name for name in arrays if not name.endswith("num_batches_tracked")}


def test_warns_about_wrong_padding_if_the_names_determine_it(golden, tmp_path):
    model = efficientnet.EfficientNet(0.5, 0.3, 32, classes=7)
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(state_dict(golden, "torchvision"), path)
    with pytest.warns(UserWarning, match=r"\(torchvision\) use `padding='symmetric'`"):
        load_weights(model, path)


# Names of tensorflow/tpu, written independently of the library.

OUTSIDE = {
    "stem_conv": "stem/conv2d",
    "stem_bn": "stem/tpu_batch_normalization",
    "top_conv": "head/conv2d",
    "top_bn": "head/tpu_batch_normalization",
    "predictions": "head/dense",
}


def to_tpu(arrays, blocks, scope="efficientnet-b0/"):
    """Renames our weights; names follow the order of the layers in a block."""
    renamed = {}
    for name, array in arrays.items():
        layer, variable = name.split("/")
        if layer in OUTSIDE:
            theirs = OUTSIDE[layer]
        else:
            block, part = layer.split("_", 1)
            plain = f"{block}_expand_conv/kernel" not in arrays
            convs = ["project_conv"] if plain else ["expand_conv", "project_conv"]
            norms = ["bn", "project_bn"] if plain else ["expand_bn", "bn", "project_bn"]
            if part in convs:
                theirs = "conv2d" + ("_1" if convs.index(part) else "")
            elif part in norms:
                count = norms.index(part)
                theirs = "tpu_batch_normalization" + (f"_{count}" if count else "")
            else:
                theirs = {
                    "dwconv": "depthwise_conv2d",
                    "se_reduce": "se/conv2d",
                    "se_expand": "se/conv2d_1",
                }[part]
            theirs = f"blocks_{blocks.index(block)}/{theirs}"
            if part == "dwconv":
                variable = "depthwise_kernel"
        renamed[f"{scope}{theirs}/{variable}"] = array
    return renamed


@pytest.fixture(scope="module", params=[False, True], ids=["b", "lite"])
def tpu_model(request):
    # The deepest case has eleven blocks, whose numbers do not sort as text.
    return efficientnet.EfficientNet(0.25, 0.6, 32, classes=7, lite=request.param)


def tpu_arrays(model, seed=0):
    rng = np.random.default_rng(seed)
    blocks = [la.name[:-7] for la in model.layers if la.name.endswith("_dwconv")]
    ours = {
        f"{la.name}/{w.name}": rng.random(w.shape, np.float32)
        for la in model.layers
        for w in la.weights
    }
    return ours, to_tpu(ours, blocks)


def test_tpu_checkpoint_sets_every_weight(tpu_model, tmp_path):
    ours, raw = tpu_arrays(tpu_model)
    averages, theirs = tpu_arrays(tpu_model, seed=1)
    saved = {**raw, "global_step": np.int64(218_949)}
    for name, array in theirs.items():
        saved[f"{name}/ExponentialMovingAverage"] = array
        if "moving" not in name:
            saved[f"{name}/RMSProp"] = np.ones_like(array)
            saved[f"{name}/RMSProp_1"] = np.zeros_like(array)
    # The operation of TensorFlow 1's Saver.
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt"),
        tensor_names=list(saved),
        shape_and_slices=[""] * len(saved),
        tensors=list(saved.values()),
    )
    for ema, expected in ((True, averages), (False, ours)):
        load_weights(tpu_model, tmp_path, ema=ema)
        for layer in tpu_model.layers:
            for weight in layer.weights:
                np.testing.assert_array_equal(
                    weight.numpy(), expected[f"{layer.name}/{weight.name}"]
                )


def test_tpu_names_determine_the_variant_without_a_model():
    model = efficientnet.EfficientNet(0.25, 0.6, 32, classes=7)
    ours, theirs = tpu_arrays(model)
    mapped = name_mapping.to_model_names(theirs)
    assert mapped.arrays.keys() == ours.keys()
    assert (mapped.scheme, mapped.padding) == ("tensorflow/tpu", "same")


# Classifiers.


def test_drops_the_background_class(tmp_path):
    model = efficientnet.EfficientNet(0.5, 0.3, 32, classes=1000)
    arrays = tpu_arrays(model)[1]
    rng = np.random.default_rng(2)
    kernel = rng.random((640, 1001), np.float32)
    bias = rng.random(1001, np.float32)
    arrays["efficientnet-b0/head/dense/kernel"] = kernel
    arrays["efficientnet-b0/head/dense/bias"] = bias
    safetensors.numpy.save_file(arrays, tmp_path / "x")
    load_weights(model, tmp_path / "x")
    head = model.get_layer("predictions")
    np.testing.assert_array_equal(head.kernel, kernel[:, 1:])
    np.testing.assert_array_equal(head.bias, bias[1:])


def test_skipped_head_keeps_its_weights(golden, tmp_path):
    path = tmp_path / "x"
    safetensors.numpy.save_file(state_dict(golden, "lukemelas"), path)
    model = efficientnet.EfficientNet(0.5, 0.3, 32, classes=5)
    with pytest.raises(ValueError, match="5 classes, the file has 7.*`skip_head=True`"):
        load_weights(model, path)
    before = np.array(model.get_layer("predictions").kernel)
    load_weights(model, path, skip_head=True)
    np.testing.assert_array_equal(model.get_layer("predictions").kernel, before)
    np.testing.assert_array_equal(
        model.get_layer("top_bn").gamma, value("_bn1.weight", (640,))
    )


def test_reference_logits_of_keras_applications():
    ours = efficientnet.EfficientNetB0(
        weights=None,
        input_shape=(32, 32, 3),
        classes=7,
        classifier_activation=None,
        normalization="none",
    )
    arrays = {
        f"{layer.name}/{weight.name}": value(weight.name, weight.shape)
        for layer in ours.layers
        for weight in layer.weights
    }
    for layer in ours.layers:
        layer.set_weights([arrays[f"{layer.name}/{w.name}"] for w in layer.weights])
    pixels = images() / 255
    theirs = reference_logits._keras_logits("b0", arrays, pixels)
    assert np.ptp(theirs) > 0.1
    logits = keras.ops.convert_to_numpy(ours(pixels))
    np.testing.assert_allclose(logits, theirs, atol=1e-4 * np.abs(theirs).max())
    with pytest.raises(ValueError, match="must have EfficientNetLite0"):
        reference_logits._keras_logits("lite0", arrays, pixels)
