"""Scripts of examples/ run, on photos and tiny networks."""

import dataclasses
import importlib.util
import shutil
import subprocess
import sys

import keras
import pytest

import keras_efficientnet
from tests.support.paths import ROOT
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
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(8):
            shutil.copy(EXAMPLES / "photos" / f"{name}.jpg", folder / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_efficientnet, "EfficientNetLite0", tiny_network)
    monkeypatch.setattr(fine_tune, "_config", tiny_config)
    return "photos"


def tiny_network(weights):
    assert weights == "imagenet"
    return keras_efficientnet.EfficientNet(
        0.25, 0.3, 32, lite=True, weights=None, name="EfficientNetLite0"
    )


def tiny_config(model, config, folder):
    del model, folder
    size = {"model": "EfficientNet", "width": 0.25, "depth": 0.3, "image_size": 32}
    size["lite"] = True  # quicker to trace
    length = {"epochs": 1, "head_only_epochs": 0, "batch_size": 8}
    return dataclasses.replace(config, weights=None, **size, **length)


def test_fine_tuning_with_fit(photos, monkeypatch, tmp_path):
    example = load("fine_tuning_with_fit")
    monkeypatch.setattr(example, "SIZE", 32)
    top1 = example.main(photos, epochs=1, output="mine.keras")
    assert 0 <= top1 <= 1
    loaded = keras.saving.load_model(tmp_path / "mine.keras")
    assert loaded.output_shape == (None, 2)
    assert loaded.optimizer.l2 == 1e-5


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
