import json
import zipfile

import keras
import numpy as np
import pytest

from keras_efficientnet.saving import load_model
from tests.support.training_runs.two_stages import two_stages

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = two_stages(classes=4)
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    model.fit(IMAGES, np.arange(4), verbose=0)
    model.save(path)
    return path


def _config(path):
    """Returns a file's description of the model, without the numbers of objects."""

    def anonymous(item):
        if isinstance(item, list):
            return [anonymous(inner) for inner in item]
        if isinstance(item, dict):
            kept = item.keys() - {"shared_object_id"}
            return {key: anonymous(item[key]) for key in kept}
        return item

    with zipfile.ZipFile(path) as file:
        return anonymous(json.loads(file.read("config.json")))


def test_loads_the_same_model_without_drawing_weights(saved, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("drew initial weights")

    golden = keras.saving.load_model(saved)
    with monkeypatch.context() as patch:
        for name in ("VarianceScaling", "GlorotUniform"):
            patch.setattr(getattr(keras.initializers, name), "__call__", fail)
        loaded = load_model(saved)
    for ours, theirs in zip(loaded.weights, golden.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )
    np.testing.assert_array_equal(
        loaded.predict(IMAGES, verbose=0), golden.predict(IMAGES, verbose=0)
    )
    loaded.save(tmp_path / "again.keras")
    assert _config(tmp_path / "again.keras") == _config(saved)


def test_loaded_models_train_on_from_the_state_of_the_optimizer(saved):
    loaded = load_model(saved)
    assert int(loaded.optimizer.iterations) == 1
    loaded.fit(IMAGES, np.arange(4), verbose=0)
    assert int(loaded.optimizer.iterations) == 2


def test_initializers_are_those_of_the_file(saved):
    loaded = load_model(saved, compile=False)
    kernel = loaded.get_layer("stem_conv").kernel_initializer
    assert type(kernel) is keras.initializers.VarianceScaling
    assert np.std(keras.ops.convert_to_numpy(kernel((3, 3, 3, 32)))) > 0.05


def test_other_files_go_to_keras(tmp_path):
    with pytest.raises(ValueError, match="absent.keras"):
        load_model(tmp_path / "absent.keras")


@keras.saving.register_keras_serializable("tests")
class Scaled(keras.layers.Layer):
    """Layer that takes a constant, which it does not save, from an initializer."""

    def __init__(self, initializer, **options):
        super().__init__(**options)
        self.initializer = keras.initializers.get(initializer)

    def build(self, shape):
        self.scale = float(keras.ops.convert_to_numpy(self.initializer(())))

    def call(self, x):
        return x * self.scale

    def get_config(self):
        serialized = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "initializer": serialized}


@pytest.mark.parametrize(
    ("initializer", "golden"), [("ones", 1), (keras.initializers.Constant(3.0), 3)]
)
def test_keeps_constants_that_are_not_weights(tmp_path, initializer, golden):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, Scaled(initializer)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(np.ones((1, 2)), verbose=0), [[golden, golden]]
    )
