import numpy as np
import pytest

from keras_efficientnet import efficientnet
from keras_efficientnet.weights import assign, name_mapping
from tests.support.weight_files.random_arrays import random_arrays

VECTORS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
LAYERS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head"}
LAYERS |= {"top_bn": "_bn1", "predictions": "_fc"}
PARTS = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "bn": "_bn1"}
PARTS |= {"dwconv": "_depthwise_conv", "project_conv": "_project_conv"}
PARTS |= {"se_reduce": "_se_reduce", "se_expand": "_se_expand", "project_bn": "_bn2"}


def build(width=0.25, depth=0.3, **options):
    options = {"classes": 7, **options}
    return efficientnet.EfficientNet(width, depth, 32, **options)


def to_lukemelas(model, arrays):
    """Renames our weights to lukemelas' names, independently of the library."""
    dwconvs = [la.name for la in model.layers if la.name.endswith("_dwconv")]
    renamed = {}
    for name, array in arrays.items():
        layer, variable = name.split("/")
        if layer in LAYERS:
            theirs = LAYERS[layer]
        else:
            block, part = layer.split("_", 1)
            theirs = f"_blocks.{dwconvs.index(f'{block}_dwconv')}.{PARTS[part]}"
        if array.ndim == 4:
            depthwise = layer.endswith("_dwconv")
            axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
            array = np.transpose(array, axes)
        variable = VECTORS.get(variable, variable) if "bn" in layer else variable
        variable = "weight" if variable == "kernel" else variable
        renamed[f"{theirs}.{variable}"] = array.T if array.ndim == 2 else array
        if variable == "running_var":
            renamed[f"{theirs}.num_batches_tracked"] = np.array(5)
    return renamed


def same(actual, expected):
    return actual.keys() == expected.keys() and all(
        np.array_equal(actual[name], expected[name]) for name in expected
    )


@pytest.mark.parametrize("options", [{}, {"lite": True}, {"depth": 1.1}])
def test_maps_lukemelas_names_to_ours(options):
    model = build(**options)
    expected = random_arrays(model)
    mapped = name_mapping.to_model_names(to_lukemelas(model, expected), model)
    assert same(mapped.arrays, expected)
    assert "_bn0.num_batches_tracked" in mapped.ignored


@pytest.fixture(scope="module")
def whole():
    return build()


@pytest.fixture(scope="module")
def deeper():
    return build(depth=1.1)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_feature_model_loads_the_file_of_a_complete_network(whole, level):
    arrays = random_arrays(whole)
    model = build(features=(level,))
    mapped = name_mapping.to_model_names(to_lukemelas(whole, arrays), model)
    assign.assign(model, mapped.arrays, mapped.ignored)
    assert same(mapped.arrays, arrays)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_feature_model_rejects_the_file_of_a_deeper_network(deeper, level):
    renamed = to_lukemelas(deeper, random_arrays(deeper))
    model = build(features=(level,))
    mapped = name_mapping.to_model_names(renamed, model)
    with pytest.raises(ValueError, match="Weights must match the model"):
        assign.assign(model, mapped.arrays, mapped.ignored)


def test_keeps_names_of_keras_and_ignores_the_input_layer(whole):
    expected = random_arrays(whole)
    extra = {"normalization/mean": np.zeros(3), "normalization_2/0": np.zeros(3)}
    mapped = name_mapping.to_model_names({**extra, **expected}, whole)
    assert same(mapped.arrays, expected)
    assert mapped.ignored == tuple(extra)


def test_maps_the_classifier_of_qubvel(whole):
    expected = random_arrays(whole)
    arrays = {k.replace("predictions/", "probs/"): v for k, v in expected.items()}
    assert same(name_mapping.to_model_names(arrays, whole).arrays, expected)


def test_rejects_a_weight_under_two_names(whole):
    arrays = {**random_arrays(whole), "probs/kernel": np.zeros(1)}
    with pytest.raises(ValueError, match="not hold predictions/kernel under two"):
        name_mapping.to_model_names(arrays, whole)


def test_keeps_unknown_names_of_a_known_scheme(whole):
    odd = {"_conv_stem.weight": np.zeros(1), "_blocks.99._bn0.weight": np.zeros(1)}
    odd |= {"_extra.weight": np.zeros(1), "_blocks.0._attention.weight": np.zeros(1)}
    assert set(name_mapping.to_model_names(odd, whole).arrays) == {
        "stem_conv/kernel",
        *list(odd)[1:],
    }


def renamed(prefix, arrays):
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def test_ignores_the_counter_of_an_averaged_model(whole):
    """Source: torch.optim.swa_utils.AveragedModel, whose state has both."""
    expected = random_arrays(whole)
    arrays = {"n_averaged": np.array(3)}
    arrays |= renamed("module.", to_lukemelas(whole, expected))
    mapped = name_mapping.to_model_names(arrays, whole)
    assert same(mapped.arrays, expected)
    assert "n_averaged" in mapped.ignored


@pytest.mark.parametrize(
    ("raw", "averaged"),
    [
        ("model.", "model_ema.module."),
        ("", "ema."),
        ("net.", "swa_model.module."),
        ("model.", "model.ema."),
    ],
)
def test_ema_chooses_between_averages_and_raw_weights(whole, raw, averaged):
    first, second = random_arrays(whole, seed=1), random_arrays(whole, seed=2)
    arrays = renamed(raw, to_lukemelas(whole, first))
    arrays |= renamed(averaged, to_lukemelas(whole, second))
    for ema, expected in ((True, second), (False, first)):
        mapped = name_mapping.to_model_names(arrays, whole, ema=ema)
        assert same(mapped.arrays, expected)


def test_rejects_two_networks_that_are_not_averages(whole):
    arrays = renamed("student.", to_lukemelas(whole, random_arrays(whole, seed=1)))
    arrays |= renamed("teacher.", to_lukemelas(whole, random_arrays(whole, seed=2)))
    with pytest.raises(
        ValueError, match=r"ignore='teacher\.\*'.* under 'student\.', 'teacher\.'"
    ):
        name_mapping.to_model_names(arrays, whole)
    mapped = name_mapping.to_model_names(arrays, whole, ignore="teacher.*")
    assert same(mapped.arrays, random_arrays(whole, seed=1))


def test_ignore_patterns_match_original_and_mapped_names(whole):
    expected = random_arrays(whole)
    arrays = renamed("encoder.", to_lukemelas(whole, expected))
    arrays |= {"decoder.block.0.weight": np.zeros((3, 3, 8, 8)), "loss.w": np.zeros(1)}
    mapped = name_mapping.to_model_names(arrays, whole, ignore=["decoder.*", "loss*"])
    assert same(mapped.arrays, expected)
    assert {"decoder.block.0.weight", "loss.w"} <= set(mapped.ignored)
    mapped = name_mapping.to_model_names(arrays, whole, ignore="predictions/*")
    assert "predictions/kernel" not in mapped.arrays
    assert "decoder.block.0.weight" in mapped.arrays


def test_reads_the_state_dict_of_our_network_on_pytorch(whole):
    """Source: Keras 3.15, backend/torch/layer.py: a ParameterDict by variable paths.

    It includes the random states of Dropout, numbered per process.
    """
    expected = random_arrays(whole)
    arrays = renamed("_torch_params.", expected)
    for number in range(10, 20):
        name = f"seed_generator_{number}/seed_generator_state"
        arrays[f"_torch_params.{name}"] = np.zeros(2, np.int32)
    mapped = name_mapping.to_model_names(arrays, whole)
    assert same(mapped.arrays, expected)
    assert len(mapped.ignored) == 10


def test_rejects_an_unknown_scheme_listing_some_names(whole):
    with pytest.raises(ValueError, match=r"'stem_conv/kernel' \(keras\).* conv1.w, b"):
        name_mapping.to_model_names({"conv1.w": np.zeros(1), "b": np.zeros(1)}, whole)
