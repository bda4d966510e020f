import shutil

import keras
import numpy as np
import pytest

import keras_efficientnet
from export import loading
from export.runtimes.base import KerasRunner, SavedModelRunner, TFLiteRunner
from keras_efficientnet import preprocessing
from keras_efficientnet.common import sidecars
from keras_efficientnet.preprocessing import EvalPreprocessing
from tests.support import export_run


def any_size_network(classes=3):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax")(x), name="net")


def test_run_folder_provides_labels_preprocessing_and_samples():
    folder = export_run.run_folder()
    loaded = loading.load(folder)
    assert isinstance(loaded.runner, KerasRunner)
    assert loaded.labels == export_run.LABELS
    assert loaded.preprocessing == EvalPreprocessing(32, 0.8)
    assert loaded.calibration == folder / "samples" / "calibration"
    assert loaded.verification == folder / "samples" / "verification"


def test_keras_file_alone_gets_defaults(tmp_path):
    shutil.copy(export_run.run_folder() / "model.keras", tmp_path / "net.keras")
    loaded = loading.load(tmp_path / "net.keras")
    assert loaded.labels == ("class 0", "class 1", "class 2", "class 3")
    assert loaded.preprocessing == EvalPreprocessing(32, 0.875, "bicubic_legacy")
    assert loaded.calibration is None
    assert loaded.verification is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("saved_model", SavedModelRunner),
        ("model_float32.tflite", TFLiteRunner),
        ("model_int8.tflite", TFLiteRunner),
    ],
)
def test_artefacts_use_the_files_beside_them(name, kind):
    export_run.exported()
    loaded = loading.load(export_run.run_folder() / "export" / name)
    assert isinstance(loaded.runner, kind)
    assert loaded.labels == export_run.LABELS
    assert loaded.preprocessing == EvalPreprocessing(32, 0.8)


def test_arguments_take_precedence_over_files():
    loaded = loading.load(
        export_run.run_folder(),
        labels=[*"abcd"],
        crop_ratio=1.0,
        interpolation="bilinear",
    )
    assert loaded.labels == ("a", "b", "c", "d")
    assert loaded.preprocessing == EvalPreprocessing(32, 1.0, "bilinear")


def test_thousand_classes_get_imagenet_names():
    loaded = loading.load(any_size_network(1000), image_size=40)
    assert loaded.labels[0] == preprocessing.imagenet_classes()[0][1]
    assert loaded.preprocessing.image_size == 40


def test_variant_takes_its_published_preprocessing(monkeypatch):
    asked = []

    def factory(weights, classes=1000):
        asked.append(weights)
        return any_size_network(1000)

    monkeypatch.setattr(keras_efficientnet.efficientnet, "EfficientNetB1", factory)
    loaded = loading.load("efficientnet-b1")
    assert asked == ["imagenet"]
    assert loaded.name == "EfficientNetB1"
    info = keras_efficientnet.weights.weights_info("EfficientNetB1", "imagenet")
    assert loaded.preprocessing == info.preprocessing


def test_variant_with_a_weight_file_takes_its_resolution(monkeypatch, tmp_path):
    monkeypatch.setattr(
        keras_efficientnet.efficientnet,
        "EfficientNetB1",
        lambda weights: any_size_network(1000),
    )
    weights = tmp_path / "my.weights.h5"
    weights.touch()
    loaded = loading.load("EfficientNetB1", weights=str(weights))
    assert loaded.preprocessing == EvalPreprocessing(240)


def test_sidecars_are_read_back(tmp_path):
    loaded = loading.load(any_size_network(), image_size=48, labels=["è", "b", "c d"])
    sidecars.write_labels(loaded.labels, tmp_path / "labels.txt")
    text = sidecars.format_preprocessing(loaded.preprocessing, "softmax")
    (tmp_path / "preprocessing.json").write_text(text)
    any_size_network().save(tmp_path / "model.keras")
    again = loading.load(tmp_path)
    assert (again.labels, again.preprocessing) == (loaded.labels, loaded.preprocessing)
    scores = again.runner(np.zeros((1, 48, 48, 3), np.float32))
    np.testing.assert_allclose(scores, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("name", ["EfficientNetLite9", "runs/nothing", "photo.jpg"])
def test_rejects_what_is_not_a_model(name, tmp_path):
    with pytest.raises(ValueError, match=r"must be a run folder.* Received: " + name):
        loading.load(name)
    with pytest.raises(ValueError, match="must be a run folder"):
        loading.load(tmp_path)


def test_error_suggests_the_nearest_variant():
    with pytest.raises(ValueError, match="Did you mean 'EfficientNetB0'"):
        loading.load("EficientNetB0")


def test_rejects_a_broken_keras_file(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"no zip file")
    with pytest.raises(
        ValueError, match=r"that Keras can open.* Received: .*net.keras"
    ):
        loading.load(tmp_path / "net.keras")


def test_rejects_weights_without_a_variant():
    with pytest.raises(
        ValueError, match="must be None unless `model` is the name of a variant"
    ):
        loading.load(any_size_network(), weights="imagenet")


def test_rejects_a_wrong_number_of_labels():
    with pytest.raises(ValueError, match="net with 3 classes and 2 labels"):
        loading.load(any_size_network(), labels=["a", "b"], image_size=32)


def test_requires_image_size_when_unknown():
    with pytest.raises(ValueError, match="`image_size` must be given"):
        loading.load(any_size_network())


def test_image_size_must_fit_the_model():
    with pytest.raises(ValueError, match=r"image_size=48, .* with input 32 x 32"):
        loading.load(export_run.run_folder(), image_size=48)
