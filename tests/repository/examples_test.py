"""Scripts of examples/ run, on photos and tiny networks."""

import importlib.util
import subprocess
import sys

import keras
import pytest

import keras_efficientnet
from tests.support.paths import ROOT
from tests.support.training_runs import photo_runs
from tests.support.training_runs.two_stages import two_stages
from training import fine_tune

EXAMPLES = ROOT / "examples"
# Keras warns about its own default whenever `fit` gets a tf.data.Dataset.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")


def load(name):
    """Imports a script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Photos of two classes, in the current folder, and networks that learn fast."""
    monkeypatch.chdir(tmp_path)
    name = "EfficientNetLite0"
    monkeypatch.setattr(keras_efficientnet, name, photo_runs.tiny_network)
    monkeypatch.setattr(fine_tune, "_config", photo_runs.tiny_config)
    return photo_runs.write_photos()


def test_fine_tuning_with_fit(photos, monkeypatch, tmp_path):
    def small(weights):  # quicker to trace than seven stages
        return two_stages(lite=True, name="EfficientNetLite0")

    monkeypatch.setattr(keras_efficientnet, "EfficientNetLite0", small)
    example = load("fine_tuning_with_fit")
    monkeypatch.setattr(example, "SIZE", 32)
    top1 = example.main(photos, epochs=1, output="mine.keras")
    assert 0 <= top1 <= 1
    loaded = keras.saving.load_model(tmp_path / "mine.keras")
    assert loaded.output_shape == (None, 2)
    assert loaded.optimizer.l2 == 1e-5


@pytest.mark.slow  # fine_tune_test.py does this without an export
def test_fine_tuning_with_the_trainer(photos, tmp_path):
    top1 = load("fine_tuning_with_the_trainer").main(photos, workdir="run")
    assert 0 <= top1 <= 1
    assert list((tmp_path / "run" / "export").glob("model_float16.tflite*"))


def test_the_nearest_neighbour_of_a_photo_is_itself():
    folder = EXAMPLES / "photos"
    found = load("nearest_neighbours").main(
        str(folder / "cat.jpg"), str(folder), count=4
    )
    assert found[0] == str(folder / "cat.jpg")
    assert len(set(found)) == 4


def test_class_map_of_a_panda(tmp_path):
    picture = tmp_path / "map.png"
    name = load("class_maps").main(str(EXAMPLES / "photos" / "panda.jpg"), str(picture))
    assert "panda" in name
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_phone_export(tmp_path):
    name = load("phone_export").main(
        str(EXAMPLES / "photos"),
        str(EXAMPLES / "photos" / "panda.jpg"),
        str(tmp_path / "exported"),
    )
    assert "panda" in name


@pytest.mark.slow
def test_training_on_arrays():
    assert load("jax_training").main(epochs=4) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.stem for p in EXAMPLES.glob("*.py")))
def test_help(name):
    command = [sys.executable, "-m", f"examples.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "usage: " in done.stdout
