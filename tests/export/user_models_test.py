"""Exports of users' Keras models in every format."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

import export
from export import api, latency, loading, output_folder
from export.formats.registry import FORMATS
from export.runtimes import embedded
from keras_efficientnet import EfficientNet, Stage
from keras_efficientnet.common.sidecars import Sidecars
from keras_efficientnet.cost.tflite_latency import Latency
from tests.support import export_run
from tests.support.npm_packages import fake_litert

SIZE = export_run.SIZE
LABELS = [*export_run.LABELS]
FEW = ("saved_model", "tflite", "onnx", "openvino")


@pytest.fixture(autouse=True)
def no_latency(monkeypatch):
    """Skips the latency measurement."""
    monkeypatch.setattr(latency, "measure_artefact", lambda *_: Latency(1.0, 1.0))


@pytest.fixture
def fake_runtime(tmp_path, monkeypatch):
    fake_litert(tmp_path, monkeypatch)


network = export_run.small_classifier


def augmentation():
    return keras.Sequential(
        [
            keras.layers.RandomFlip(),
            keras.layers.RandomRotation(0.5),
            keras.layers.RandomZoom(0.3),
            keras.layers.RandomBrightness(0.5, value_range=(0, 255)),
            keras.layers.RandomContrast(0.5, value_range=(0, 255)),
            keras.layers.GaussianNoise(0.9),
        ]
    )


def sequential(tmp_path):
    inner = keras.Input((SIZE, SIZE, 3))
    body = keras.Model(inner, network(inner))
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), augmentation(), body])


def nested_twice(tmp_path):
    """As in tutorials: augmentation, a network as a layer, a head."""
    inner = keras.Input((SIZE, SIZE, 3))
    body = keras.Model(inner, network(inner, None, 6))
    inputs = keras.Input((SIZE, SIZE, 3))
    x = body(augmentation()(inputs), training=False)
    return keras.Model(inputs, keras.layers.Dense(4, "softmax")(x))


def through_input_tensor(tmp_path):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomTranslation(0.5, 0.5)(inputs, training=True)
    stages = [Stage(repeats=2, kernel=3, stride=2, expand=4, filters=16)]
    options = {"lite": True, "classes": 4, "stages": stages, "head_filters": 64}
    return EfficientNet(0.5, 1.0, SIZE, input_tensor=x, **options)


def open_size(tmp_path):
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, network(inputs))


def own_normalization(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    layer = keras.layers.Normalization(name="normalization")
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (8, SIZE, SIZE, 3)))
    inner = keras.Input((SIZE, SIZE, 3))
    scores = network(inner)
    return keras.Model(inputs, keras.Model(inner, scores)(layer(inputs) * 60 + 120))


def grey(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 1))
    return keras.Model(inputs, network(inputs))


def rgba(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 4))
    return keras.Model(inputs, network(inputs))


def h5_file(tmp_path):
    path = tmp_path / "net.h5"
    inputs = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(inputs, network(inputs))
    model.save(path)
    return path


def integers(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    return keras.Model(inputs, network(inputs))


def logits(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, network(inputs, None))


def one_sigmoid(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, network(inputs, "sigmoid", 1))


def one_logit(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, network(inputs, None, 1))


def sigmoids(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, network(inputs, "sigmoid"))


MAKERS = (
    *(sequential, nested_twice, through_input_tensor, open_size, own_normalization),
    *(grey, rgba, h5_file, integers, logits, one_sigmoid, one_logit, sigmoids),
)


def each(*quick):
    """Parametrises a test by all models; the fast tests take some of them."""
    makers = [
        pytest.param(make, marks=() if make in quick else pytest.mark.slow)
        for make in MAKERS
    ]
    return pytest.mark.parametrize("make", makers, ids=lambda make: make.__name__)


def photos(folder, count=3):
    """Writes unsorted images of all four classes."""
    folder.mkdir()
    for label in export_run.LABELS:
        for i, pixels in enumerate(export_run.pictures(label, count, seed=5)):
            Image.fromarray(pixels).save(folder / f"{label}{i}.png")
    return folder


# For the other models, the artefacts are written from the model itself.
COPIED = (*MAKERS[:5], integers)


@pytest.mark.parametrize("make", COPIED, ids=lambda make: make.__name__)
def test_inference_graph_matches_keras(make, tmp_path):
    """All artefacts are written from this graph."""
    model = make(tmp_path)
    loaded = loading.load(model, labels=LABELS, image_size=SIZE, crop_ratio=0.8)
    shape = (2, SIZE, SIZE, loaded.channels)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    model = loaded.runner.model
    copy = api.inference_model(model, SIZE)
    assert copy is not model
    assert copy.input_shape == (None, SIZE, SIZE, loaded.channels)
    np.testing.assert_allclose(
        copy(images), model(images, training=False), atol=1e-5, rtol=1e-5
    )
    assert not [v.path for v in copy.variables if "seed" in v.path]


@each(grey, one_logit)
def test_tensorflow_formats_match_keras(make, tmp_path, capsys):
    check_formats(make, ["saved_model", "tflite"], tmp_path)


@each(one_logit)
def test_onnx_and_openvino_match_keras(make, tmp_path, capsys):
    check_formats(make, ["onnx", "openvino"], tmp_path)


@each(own_normalization)
def test_other_formats_match_keras(make, tmp_path, fake_runtime, capsys):
    others = [n for n, row in FORMATS.items() if row.max_difference != 1e-4]
    check_formats(make, others, tmp_path)


def check_formats(make, formats, tmp_path):
    """Exports a model with calibration images and compares the outputs."""
    model = make(tmp_path)
    options = {"image_size": SIZE, "crop_ratio": 0.8}
    folder = photos(tmp_path / "photos")
    labels = {"one_sigmoid": ["no", "yes"], "one_logit": ["no", "yes"]}
    labels = labels.get(make.__name__, LABELS)
    results = export.export_model(
        model,
        formats,
        labels=labels,
        calibration=folder,
        verify=folder,
        output_dir=tmp_path / "out",
        **options,
    )
    assert [result.problems for result in results] == [()] * len(formats)
    loaded = loading.load(model, labels=labels, **options)
    rng = np.random.default_rng(0)
    shape = (2, SIZE, SIZE, loaded.channels)
    images = np.rint(rng.uniform(0, 255, shape)).astype(np.float32)
    expected = loaded.classify(images)
    for result in results:
        artefact = loading.load(result.path)
        assert artefact.labels == tuple(labels)
        if FORMATS[result.format].max_difference == 1e-4:
            assert artefact.output_activation == loaded.output_activation
            np.testing.assert_allclose(artefact.classify(images), expected, atol=1e-4)


def test_inference_graph_has_no_training_layers(tmp_path):
    model = through_input_tensor(tmp_path)
    copy = api.inference_model(model, SIZE)
    kinds = {type(layer).__name__ for layer in copy.layers}
    assert not kinds & {"RandomTranslation", "Dropout", "Functional", "Sequential"}
    assert not [v.path for v in copy.variables if "seed" in v.path]
    for wanted, found in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(wanted, found)


def export_to(folder, model, formats=("tflite",), labels=LABELS, verify=None):
    return export.export_model(
        model,
        list(formats),
        labels=labels,
        verify=verify or photos(folder.parent / f"photos of {folder.name}", 1),
        output_dir=folder,
        crop_ratio=0.8,
    )


def test_artefacts_contain_labels_and_preprocessing(tmp_path, monkeypatch):
    labels = ["a\rb", "c\vd", "e\x85f", "g\u2028h"]
    results = export_to(tmp_path / "out", logits(tmp_path), FEW, labels)
    for result in results:
        alone = tmp_path / f"alone {result.format}"
        alone.mkdir()
        artefact = result.path.rename(alone / result.path.name)
        loaded = loading.load(artefact)
        assert loaded.labels == tuple(labels)
        assert loaded.preprocessing.crop_ratio == 0.8
        assert loaded.output_activation == "linear"


def test_embedded_values_take_precedence_over_sidecars(tmp_path):
    (result,) = export_to(tmp_path / "out", h5_file(tmp_path))
    (tmp_path / "out" / "labels.txt").write_text("apple\npear\nplum\nfig\n")
    assert loading.load(result.path).labels == export_run.LABELS


def test_artefacts_of_another_model_are_removed(tmp_path, capsys):
    out, first = tmp_path / "out", h5_file(tmp_path)
    images = photos(tmp_path / "photos", 1)
    export_to(out, first, ("tflite", "saved_model"), verify=images)
    export_to(out, first, ("tflite_float16",), verify=images)
    assert (out / "model_float32.tflite").is_file()
    assert "Removed" not in capsys.readouterr().out
    export_to(out, first, ("saved_model",), [*"abcd"], verify=images)
    assert not (out / "model_float32.tflite").exists()
    assert not (out / "model_float16.tflite").exists()
    assert loading.load(out / "saved_model").labels == ("a", "b", "c", "d")
    assert "Removed" in capsys.readouterr().out


def test_rejects_artefacts_of_unknown_origin(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"may belong to another.* with model.onnx"):
        export_to(out, h5_file(tmp_path))
    assert (out / "model.onnx").read_bytes() == b"somebody's"
    assert [path.name for path in out.iterdir()] == ["model.onnx"]


def test_rejects_sidecars_of_other_artefacts(tmp_path, monkeypatch):
    model = h5_file(tmp_path)
    (result,) = export_to(tmp_path / "out", model)
    monkeypatch.setattr(embedded, "of_tflite", lambda *_: Sidecars())
    assert loading.load(result.path).labels == export_run.LABELS
    other = tmp_path / "out" / "other.tflite"
    other.write_bytes(result.path.read_bytes())
    with pytest.raises(ValueError, match=r"--labels=FILE. .*of model_float32.tflite"):
        loading.load(other)
    result.path.write_bytes(result.path.read_bytes() + b"changed")
    with pytest.raises(ValueError, match="must belong to it"):
        loading.load(result.path)


def test_a_model_may_share_the_folder_of_its_artefacts(tmp_path):
    model = h5_file(tmp_path)
    export_to(tmp_path, model, verify=photos(tmp_path / "photos", 1))
    assert loading.load(model).labels == export_run.LABELS
    other = tmp_path / "other.h5"
    keras.saving.load_model(model).save(other)
    other.write_bytes(other.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"own labels.txt.*belong to"):
        loading.load(other)


def test_digest_depends_on_weights_labels_and_constants():
    def digest(scale=1.0, labels=None, weight=0.5):
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Rescaling(scale)(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        kernel = keras.initializers.Constant(weight)
        scores = keras.layers.Dense(2, "softmax", kernel_initializer=kernel)(x)
        source = export_run.source(keras.Model(inputs, scores))
        if labels:
            source = dataclasses.replace(source, labels=labels)
        return output_folder.model_digest(source)

    found = [digest(), digest(2.0), digest(labels=("a", "b")), digest(weight=0.6)]
    assert digest() == found[0]
    assert len(set(found)) == 4
