"""Names of EfficientNetV2 and EdgeTPU weights in other projects.

Source: each project's model code: google/automl, efficientnetv2/effnetv2_model.py
(tensorflow/tpu has the same names for EdgeTPU); timm, models/_efficientnet_blocks.py;
torchvision, models/efficientnet.py; keras.applications, efficientnet_v2.py.
"""

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_efficientnet import efficientnet
from keras_efficientnet.architecture import VARIANTS, block_plan
from keras_efficientnet.weights import (
    assign,
    convert,
    load_weights,
    name_mapping,
    naming_schemes,
)
from keras_efficientnet.weights.registry import table
from tests.support.weight_files.random_arrays import random_arrays

TORCH_VECTORS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Kind of block -> our layer -> theirs.
MBCONV = "expand_conv expand_bn dwconv bn se_reduce se_expand project_conv project_bn"
FUSED = "expand_conv expand_bn project_conv project_bn"
PLAIN = "project_conv project_bn"


def layers(ours, theirs):
    return dict(zip(ours.split(), theirs.split(), strict=True))


NORM = "tpu_batch_normalization"
AUTOML = {
    "mbconv": layers(
        MBCONV,
        f"conv2d {NORM} depthwise_conv2d {NORM}_1 se/conv2d se/conv2d_1 "
        f"conv2d_1 {NORM}_2",
    ),
    "fused": layers(FUSED, f"conv2d {NORM} conv2d_1 {NORM}_1"),
    "plain": layers(PLAIN, f"conv2d {NORM}"),
    "outside": {
        "stem_conv": "stem/conv2d",
        "stem_bn": f"stem/{NORM}",
        "top_conv": "head/conv2d",
        "top_bn": f"head/{NORM}",
        "predictions": "head/dense",
    },
}
TIMM = {
    "mbconv": layers(
        MBCONV,
        "conv_pw bn1 conv_dw bn2 se.conv_reduce se.conv_expand conv_pwl bn3",
    ),
    "fused": layers(FUSED, "conv_exp bn1 conv_pwl bn2"),
    "plain": layers(PLAIN, "conv bn1"),
    "outside": {
        "stem_conv": "conv_stem",
        "stem_bn": "bn1",
        "top_conv": "conv_head",
        "top_bn": "bn2",
        "predictions": "classifier",
    },
}
TORCHVISION = {
    "mbconv": layers(
        MBCONV,
        "block.0.0 block.0.1 block.1.0 block.1.1 block.2.fc1 block.2.fc2 "
        "block.3.0 block.3.1",
    ),
    "fused": layers(FUSED, "block.0.0 block.0.1 block.1.0 block.1.1"),
    "plain": layers(PLAIN, "block.0.0 block.0.1"),
    "outside": {
        "stem_conv": "features.0.0",
        "stem_bn": "features.0.1",
        "top_conv": "features.7.0",  # of six stages
        "top_bn": "features.7.1",
        "predictions": "classifier.1",
    },
}


def place_automl(block, number):
    return f"blocks_{number}/"


def place_timm(block, number):
    return f"blocks.{int(block[5]) - 1}.{ord(block[6]) - ord('a')}."


def place_torchvision(block, number):
    return f"features.{block[5]}.{ord(block[6]) - ord('a')}."


PROJECTS = {
    "automl": (AUTOML, place_automl),
    "timm": (TIMM, place_timm),
    "torchvision": (TORCHVISION, place_torchvision),
}


def build(family, **options):
    # At smaller widths stages 1 and 2 of EdgeTPU round to the same channels.
    return efficientnet.EfficientNet(1.0, 0.3, 32, classes=7, family=family, **options)


@pytest.fixture(scope="module", params=["v2", "edgetpu"])
def model(request):
    return build(request.param)


def rename(arrays, project):
    """Renames ours to theirs, spelled out independently of the library."""
    tables, place = PROJECTS[project]
    parts = {}
    for name in arrays:
        block, _, layer = name.split("/")[0].partition("_")
        if block.startswith("block"):
            parts.setdefault(block, set()).add(layer.removesuffix("2"))
    blocks = list(parts)
    renamed = {}
    for name, array in arrays.items():
        layer, variable = name.split("/")
        block, _, part = layer.partition("_")
        if block in parts:
            part = part.removesuffix("2")
            kind = "mbconv" if "dwconv" in parts[block] else "fused"
            kind = kind if "expand_conv" in parts[block] else "plain"
            theirs = place(block, blocks.index(block)) + tables[kind][part]
        else:
            theirs = tables["outside"][layer]
        is_depthwise = part == "dwconv"
        if project == "automl":
            variable = "depthwise_kernel" if is_depthwise else variable
            renamed[f"efficientnetv2-x/{theirs}/{variable}"] = array
            continue
        if array.ndim == 4:
            array = array.transpose((2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1))
        variable = "weight" if variable == "kernel" else variable
        variable = TORCH_VECTORS.get(variable, variable) if "bn" in layer else variable
        renamed[f"{theirs}.{variable}"] = array.T if array.ndim == 2 else array
    assert len(renamed) == len(arrays)
    return renamed


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize("project", PROJECTS)
def test_names_become_ours_with_and_without_a_model(model, project):
    expected = random_arrays(model)
    renamed = rename(expected, project)
    assert_same(name_mapping.to_model_names(renamed, model).arrays, expected)
    assert_same(name_mapping.to_model_names(renamed).arrays, expected)


@pytest.mark.parametrize("project", PROJECTS)
def test_files_set_every_weight_from_exactly_one_array(model, project, tmp_path):
    expected = random_arrays(model, seed=1)
    renamed = rename(expected, project)
    path = tmp_path / "net.safetensors"
    arrays = {name: np.ascontiguousarray(a) for name, a in renamed.items()}
    safetensors.numpy.save_file(arrays, path)
    padding = "symmetric" if project == "torchvision" else "same"
    fresh = build("v2" if _is_v2(model) else "edgetpu", padding=padding)
    load_weights(fresh, path)
    assert_same(assign.get_weights(fresh), expected)
    for name in list(arrays)[::25]:
        fewer = {k: a for k, a in arrays.items() if k != name}
        safetensors.numpy.save_file(fewer, path)
        with pytest.raises(ValueError, match="missing|unexpected|known naming scheme"):
            load_weights(fresh, path)
    extra = {**arrays, f"{name}x": arrays[name]}
    safetensors.numpy.save_file(extra, path)
    with pytest.raises(ValueError, match="unexpected"):
        load_weights(fresh, path)


@pytest.mark.parametrize("level", [1, 3, 5])
def test_file_of_the_complete_network_fits_a_feature_model(level):
    arrays = random_arrays(build("v2"))
    model = build("v2", features=(level,))
    mapped = name_mapping.to_model_names(rename(arrays, "automl"), model)
    assign.assign(model, mapped.arrays, mapped.ignored)
    name = "block1a_project_conv"
    kernel = keras.ops.convert_to_numpy(model.get_layer(name).kernel)
    np.testing.assert_array_equal(kernel, arrays[f"{name}/kernel"])


def test_names_of_timm_are_made_from_ours(model):
    arrays = random_arrays(model)
    own = {name.split("/")[0] for name in arrays}
    made = {naming_schemes.to_timm(name, own) for name in arrays}
    assert made == set(rename(arrays, "timm"))


def test_h5_files_of_keras_applications_load(tmp_path):
    theirs = keras.applications.EfficientNetV2B0(
        weights=None, input_shape=(32, 32, 3), classes=5
    )
    theirs.save_weights(tmp_path / "net.weights.h5")
    ours = efficientnet.EfficientNetV2B0(
        weights=tmp_path / "net.weights.h5", input_shape=(32, 32, 3), classes=5
    )
    for layer in ours.layers:
        for mine, other in zip(
            layer.get_weights(),
            theirs.get_layer(layer.name).get_weights() if layer.weights else [],
            strict=True,
        ):
            np.testing.assert_array_equal(mine, other)


def test_convert_writes_timm_names_that_convert_reads(tmp_path):
    net = efficientnet.EfficientNetEdgeTPUS(
        weights=None, input_shape=(32, 32, 3), classes=3
    )
    net.save_weights(tmp_path / "net.weights.h5")
    report = convert.convert(
        tmp_path / "net.weights.h5", tmp_path / "net.safetensors", names="timm"
    )
    assert "EfficientNetEdgeTPUS" in report
    load_weights(build_like(net), tmp_path / "net.safetensors")


def build_like(net):
    return efficientnet.EfficientNetEdgeTPUS(
        weights=None, input_shape=(32, 32, 3), classes=net.output_shape[-1]
    )


@pytest.mark.parametrize("key", VARIANTS)
def test_every_variant_is_recognised_by_its_shapes(key):
    variant, plan = VARIANTS[key], block_plan(VARIANTS[key])
    ends = (3, 3, 3, variant.stem_filters), (1, 1, plan[-1].filters_out)
    given = {
        "stem_conv/kernel": np.empty(ends[0]),
        "top_conv/kernel": np.broadcast_to(0, (*ends[1], variant.head_filters)),
    }
    for block in plan:
        given[f"{block.name}_project_conv/kernel"] = np.empty(0)
        if block.se_filters:
            given[f"{block.name}_se_reduce/kernel"] = np.empty(0)
    assert assign.guess_variant(given) == key


# Records against models.


def test_normalization_that_contradicts_the_record_is_reported(monkeypatch):
    with pytest.raises(
        ValueError,
        match=r"must be 'imagenet' .*EfficientNetV2B0.* normalization='inception'",
    ):
        efficientnet.EfficientNetV2B0(normalization="inception")


def test_classes_of_imagenet_21k_do_not_fit_a_head_of_1000():
    with pytest.raises(
        ValueError, match="must be 21843 for weights 'imagenet21k'.*classes=1000"
    ):
        efficientnet.EfficientNetV2B0(weights="imagenet21k")


def test_published_weights_load_without_the_models_preprocessing(monkeypatch, tmp_path):
    donor = efficientnet.EfficientNetV2B0(weights=None)
    donor.save_weights(tmp_path / "efficientnetv2-b0.h5.weights.h5")
    monkeypatch.setattr(
        "keras_efficientnet.weights.download.fetch.fetch",
        lambda record: tmp_path / "efficientnetv2-b0.h5.weights.h5",
    )
    bare = efficientnet.EfficientNetV2B0(include_preprocessing=False)
    assert not any("normalization" in layer.name for layer in bare.layers)
    np.testing.assert_array_equal(bare.get_weights()[0], donor.get_weights()[0])
    assert table.find("imagenet", "v2b0").normalization == "imagenet"


def _is_v2(model):
    return any(layer.name.endswith("dwconv2") for layer in model.layers)
