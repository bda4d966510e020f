"""Saved models in a process that cannot import this package."""

import subprocess
import sys

import numpy as np
import pytest

from tests.support.training_runs.two_stages import two_stages

LOADER = """
import sys
sys.modules["keras_efficientnet"] = None  # any import of it fails
import keras
import numpy as np
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
for name in ("fresh", "trained"):
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    np.save(f"{folder}/{name}.npy", model.predict(images, verbose=0))
model.load_weights(f"{folder}/fresh.weights.h5")
np.save(f"{folder}/weights.npy", model.predict(images, verbose=0))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Predictions of this process, and of a new process from the files."""
    folder = tmp_path_factory.mktemp("saved")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    model = two_stages(classes=4)
    here = {"fresh": model.predict(images, verbose=0)}
    model.save(folder / "fresh.keras")
    model.save_weights(folder / "fresh.weights.h5")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, rng.integers(0, 4, 8), batch_size=4, verbose=0)
    here["trained"] = model.predict(images, verbose=0)
    model.save(folder / "trained.keras")
    subprocess.run(
        [sys.executable, "-c", LOADER, str(folder)], check=True, cwd=folder, timeout=300
    )
    names = ("fresh", "trained", "weights")
    return here, {name: np.load(folder / f"{name}.npy") for name in names}


def test_saved_model_predicts_bit_for_bit_the_same(saved):
    here, there = saved
    np.testing.assert_array_equal(there["fresh"], here["fresh"])


def test_trained_model_predicts_bit_for_bit_the_same(saved):
    here, there = saved
    assert not np.array_equal(here["trained"], here["fresh"])
    np.testing.assert_array_equal(there["trained"], here["trained"])


def test_saved_weights_predict_bit_for_bit_the_same(saved):
    here, there = saved
    np.testing.assert_array_equal(there["weights"], here["fresh"])
