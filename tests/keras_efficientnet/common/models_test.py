import keras
import pytest

from keras_efficientnet import efficientnet, weights_info
from keras_efficientnet.common.models import open_model
from keras_efficientnet.preprocessing import EvalPreprocessing


def network(classes=3, size=None, channels=3, end="softmax"):
    inputs = keras.Input((size, size, channels))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(classes, end)(x), name="net")


@pytest.fixture
def requested(monkeypatch):
    """Weights that EfficientNetB1 was called with."""
    received = []

    def factory(weights, classes=1000):
        received.append(weights)
        return network(1000)

    monkeypatch.setattr(efficientnet, "EfficientNetB1", factory)
    return received


@pytest.mark.parametrize("name", ["EfficientNetB1", "efficientnet-b1", "b1"])
def test_variant_defaults_to_imagenet_weights(name, requested):
    opened = open_model(name)
    assert requested == ["imagenet"]
    assert opened.name == "EfficientNetB1"
    assert opened.class_names[0] == "n01440764"  # tench
    info = weights_info("EfficientNetB1", "imagenet")
    assert opened.preprocessing == info.preprocessing


def test_variant_with_a_weight_file_has_its_own_resolution(requested, tmp_path):
    path = tmp_path / "my.weights.h5"
    path.touch()
    opened = open_model("b1", str(path))
    assert requested == [str(path)]
    assert opened.preprocessing == EvalPreprocessing(240)


def test_weights_override_a_folder_named_like_a_variant(
    requested, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b1").mkdir()
    open_model("b1", "imagenet")
    assert requested == ["imagenet"]
    with pytest.raises(ValueError, match="A model must be a run folder"):
        open_model("b1")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_opens_a_complete_model_from_a_file(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    model = network(size=32)
    model.save(path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    opened = open_model(path)
    assert opened.class_names == ("a", "b", "c")
    assert opened.preprocessing == EvalPreprocessing(32)
    assert opened.classes == 3
    assert opened.run_folder is None


def test_rejects_a_weights_only_file(tmp_path):
    path = tmp_path / "net.weights.h5"
    network().save_weights(path)
    with pytest.raises(ValueError, match="a weights-only file with a variant"):
        open_model(path)


def test_rejects_an_unfinished_run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"finished run: .*model.keras is missing"):
        open_model(tmp_path)


def test_given_labels_override_those_beside_the_model(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("x\ny\nz\n")
    assert open_model(network(size=8), labels=path).class_names == ("x", "y", "z")
    assert open_model(network(size=8), labels=str(path)).class_names[0] == "x"
    with pytest.raises(ValueError, match="file of class names must exist"):
        open_model(network(size=8), labels="nowhere.txt")


def test_a_single_sigmoid_has_two_classes():
    model = network(1, 8, end="sigmoid")
    opened = open_model(model, labels=["cat", "dog"])
    assert (opened.classes, opened.output_activation) == (2, "sigmoid")
    with pytest.raises(ValueError, match="2 classes and 1 labels"):
        open_model(model, labels=["dog"])


class Subclassed(keras.Model):
    def call(self, images):
        return images


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Subclassed(), "functional or Sequential.* a Subclassed"),
        (keras.Sequential([keras.layers.Dense(2)]), "begin a Sequential model with"),
        (network(size=8, channels=2), r"greyscale, RGB or RGBA images.*None, 8, 8, 2"),
        (network(size=8, end="relu"), "ends in layer .* with activation relu"),
        (network(), "`image_size` must be given"),
    ],
)
def test_rejects_models_that_are_not_image_classifiers(model, message):
    with pytest.raises(ValueError, match=message):
        open_model(model)


def test_variant_has_the_classes_of_its_published_weights(monkeypatch):
    received = []

    def factory(weights, classes):
        received.append((weights, classes))
        return network(5)

    monkeypatch.setattr(efficientnet, "EfficientNetV2S", factory)
    open_model("v2s", "imagenet21k")
    assert received == [("imagenet21k", 21_843)]
