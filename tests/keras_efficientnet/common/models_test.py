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
def asked(monkeypatch):
    """Weights that EfficientNetB1 was asked for."""
    weights_asked = []

    def factory(weights):
        weights_asked.append(weights)
        return network(1000)

    monkeypatch.setattr(efficientnet, "EfficientNetB1", factory)
    return weights_asked


@pytest.mark.parametrize("name", ["EfficientNetB1", "efficientnet-b1", "b1"])
def test_variant_has_imagenet_weights_unless_told_otherwise(name, asked):
    opened = open_model(name)
    assert asked == ["imagenet"]
    assert opened.name == "EfficientNetB1"
    assert opened.class_names[0] == "n01440764"  # tench
    info = weights_info("EfficientNetB1", "imagenet")
    assert opened.preprocessing == info.preprocessing


def test_variant_with_a_weight_file_has_its_own_resolution(asked, tmp_path):
    path = tmp_path / "my.weights.h5"
    path.touch()
    opened = open_model("b1", str(path))
    assert asked == [str(path)]
    assert opened.preprocessing == EvalPreprocessing(240)


def test_folder_named_like_a_variant_gives_way_to_weights(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b1").mkdir()
    open_model("b1", "imagenet")
    assert asked == ["imagenet"]
    with pytest.raises(ValueError, match="A model must be a run folder"):
        open_model("b1")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_whole_model_in_a_file_is_opened(suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    model = network(size=32)
    model.save(path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    opened = open_model(path)
    assert opened.class_names == ("a", "b", "c")
    assert opened.preprocessing == EvalPreprocessing(32)
    assert opened.classes == 3
    assert opened.run_folder is None


def test_weights_alone_are_no_model(tmp_path):
    path = tmp_path / "net.weights.h5"
    network().save_weights(path)
    with pytest.raises(ValueError, match="weights alone goes with a variant"):
        open_model(path)


def test_missing_model_of_a_run_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"finished run: .*model.keras is missing"):
        open_model(tmp_path)


def test_labels_of_a_file_win(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("x\ny\nz\n")
    assert open_model(network(size=8), labels=path).class_names == ("x", "y", "z")
    assert open_model(network(size=8), labels=str(path)).class_names[0] == "x"
    with pytest.raises(ValueError, match="file of class names must exist"):
        open_model(network(size=8), labels="nowhere.txt")


def test_one_sigmoid_has_two_classes():
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
        (network(size=8, channels=2), r"grey, RGB or RGBA images.*None, 8, 8, 2"),
        (network(size=8, end="relu"), "ends in layer .* with activation relu"),
        (network(), "`image_size` must be given"),
    ],
)
def test_rejects_what_is_no_classifier_of_images(model, message):
    with pytest.raises(ValueError, match=message):
        open_model(model)
