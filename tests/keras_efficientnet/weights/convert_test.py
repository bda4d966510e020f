import sys

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_efficientnet import architecture, efficientnet
from keras_efficientnet.networks import factories
from keras_efficientnet.weights import convert, load_weights, reference_logits
from keras_efficientnet.weights.download import fetch

KEY = "EfficientNetB0"


@pytest.fixture(scope="module")
def tiny():
    """Replaces B0 by a network of a few thousand weights in this module."""
    with pytest.MonkeyPatch.context() as patch:
        small = architecture.Variant(0.25, 0.3, 32, 0.2)
        patch.setitem(architecture.VARIANTS, KEY, small)
        build = factories.build
        patch.setattr(
            factories, "build", lambda variant, **options: build(small, **options)
        )
        yield efficientnet.EfficientNetB0(weights=None, classes=7)


@pytest.fixture(scope="module")
def source(tiny, tmp_path_factory):
    rng = np.random.default_rng(0)
    tiny.set_weights([rng.random(w.shape, np.float32) for w in tiny.weights])
    path = tmp_path_factory.mktemp("source") / "net.weights.h5"
    tiny.save_weights(path)
    return path


def holds(path, tiny):
    model = efficientnet.EfficientNetB0(weights=None, classes=7)
    load_weights(model, path)
    return all(map(np.array_equal, model.get_weights(), tiny.get_weights()))


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("x.weights.h5", "ours"),
        ("x.keras", "ours"),
        ("x.safetensors", "ours"),
        ("x.safetensors", "timm"),
    ],
)
def test_every_format_stores_every_weight(tiny, source, tmp_path, name, names):
    target = tmp_path / "new" / name
    report = convert.convert(source, target, names=names)
    assert holds(target, tiny)
    assert [path.name for path in target.parent.iterdir()] == [name]
    for fact in ("names      keras", f"{KEY}, 7 classes", "read back equal", "sha256"):
        assert fact in report


def test_timm_names_convert_back_to_ours(tiny, source, tmp_path):
    convert.convert(source, tmp_path / "a.safetensors", names="timm")
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert arrays["conv_stem.weight"].shape == (8, 3, 3, 3)
    assert arrays["blocks.0.0.conv_dw.weight"].shape[1] == 1
    report = convert.convert(
        tmp_path / "a.safetensors", tmp_path / "b.keras", padding="symmetric"
    )
    assert "names      timm" in report
    assert "padding symmetric, epsilon 0.001 (assumed" in report
    model = keras.saving.load_model(tmp_path / "b.keras")
    assert any(layer.name == "stem_conv_pad" for layer in model.layers)
    assert all(map(np.array_equal, model.get_weights(), tiny.get_weights()))


def test_published_weights_determine_the_options(tiny, source, tmp_path, monkeypatch):
    asked = []

    def stand_in(record):
        asked.append(record.name)
        return source

    monkeypatch.setattr(fetch, "fetch", stand_in)
    target = tmp_path / "x.keras"
    report = convert.convert("b0/torchvision", target)
    assert asked == ["torchvision@torchvision"]
    assert "torchvision, IMAGENET1K_V1" in report
    assert "padding symmetric, epsilon 1e-05" in report
    with pytest.raises(ValueError, match="`padding` must be 'symmetric' .*'same'"):
        convert.convert("b0/torchvision", target, padding="same")


def test_failure_leaves_no_file(source, tmp_path, monkeypatch):
    def fail(path, model):
        raise ValueError("not equal")

    monkeypatch.setattr(convert, "_compare", fail)
    with pytest.raises(ValueError, match="not equal"):
        convert.convert(source, tmp_path / "x.keras")
    assert not list(tmp_path.iterdir())


def test_detects_damage_while_writing(tiny, source, tmp_path):
    path = tmp_path / "net.weights.h5"
    tiny.save_weights(path)
    other = efficientnet.EfficientNetB0(weights=None, classes=7)
    with pytest.raises(
        ValueError, match=r"net\.weights\.h5 must equal what was written"
    ):
        convert._compare(path, other)


@pytest.mark.parametrize(
    ("target", "names", "reason"),
    [
        ("x.h5", "ours", r"end in \.weights\.h5, .*target=.*x\.h5"),
        ("x.keras", "theirs", "one of ours, timm. Received: names='theirs'"),
        ("x.keras", "timm", r"end in \.safetensors for timm's names"),
    ],
)
def test_rejects_invalid_arguments(source, tmp_path, target, names, reason):
    with pytest.raises(ValueError, match=reason):
        convert.convert(source, tmp_path / target, names=names)


def test_unknown_shapes_require_the_variant(source, tmp_path):
    arrays = {"stem_conv/kernel": np.zeros((3, 3, 3, 999), np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "odd")
    with pytest.raises(ValueError, match="`variant` must be given"):
        convert.convert(tmp_path / "odd", tmp_path / "x.keras")


def test_check_reports_a_difference(tiny, source, tmp_path, monkeypatch):
    model = keras.Model(tiny.input, tiny.get_layer("avg_pool").output)
    head = tiny.get_layer("predictions")

    def exact(scheme, variant, arrays, images, symmetric):
        assert (scheme, variant, symmetric) == ("keras", KEY, False)
        raw = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3))
        pooled = np.array(model(raw.astype(np.float32)))
        return pooled @ np.array(head.kernel) + np.array(head.bias)

    monkeypatch.setattr(reference_logits, "logits", exact)
    target = tmp_path / "x.safetensors"
    assert "logits differ from keras's by" in convert.convert(
        source, target, check=True
    )
    target.unlink()
    monkeypatch.setattr(
        reference_logits, "logits", lambda *a, **k: exact(*a, **k) * 1.01
    )
    with pytest.raises(ValueError, match="Logits must equal those of keras within"):
        convert.convert(source, target, check=True)
    assert not target.exists()


def test_check_requires_a_known_project_and_a_classifier(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="supports weights of keras, lukemelas, timm"):
        reference_logits.logits("tensorflow/tpu", KEY, {}, np.zeros(1), symmetric=False)
    monkeypatch.setitem(reference_logits.PACKAGES, "timm", "no_such_package")
    with pytest.raises(ImportError, match="needs no_such_package: pip install"):
        reference_logits.logits("timm", KEY, {}, np.zeros(1), symmetric=False)
    headless = efficientnet.EfficientNetB0(weights=None, include_top=False)
    headless.save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="requires a classifier"):
        convert.convert(tmp_path / "x.weights.h5", tmp_path / "x.keras", check=True)


def test_failure_of_the_reference_is_reported(monkeypatch):
    monkeypatch.setitem(reference_logits.PACKAGES, "timm", "numpy")
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(ValueError, match="must match timm's network. exit status 1"):
        reference_logits.logits("timm", KEY, {}, np.zeros(1), symmetric=False)


def test_command_prints_a_report_or_an_error(source, tmp_path, capsys):
    target = str(tmp_path / "x.safetensors")
    assert convert.main([str(source), target, "--names=timm"]) == 0
    assert "read back equal" in capsys.readouterr().out
    assert convert.main([str(tmp_path / "none.h5"), target]) == 2
    assert "efficientnet-convert: " in capsys.readouterr().err
