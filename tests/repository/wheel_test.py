"""Published distributions in environments with only their declared dependencies.

Needs a package index and a few minutes: `make test-wheel`.
"""

import json

import pytest

from tests.support import built
from tests.support.environments import Environment

pytestmark = pytest.mark.slow

# A network of a few thousand weights, trained until int8 agrees with float32.
TINY_RUN = ["--config=digits", "--config.width=0.25", "--config.epochs=8"]
# Checked by mypy in strict mode.
TYPED_USE = """
from pathlib import Path

import keras_efficientnet as ke

cost: ke.Cost = ke.plan_cost(ke.VARIANTS["EfficientNetB0"])
params: int = cost.trainable_params
wider: ke.Scaling = ke.compound(1.5)
model = ke.EfficientNetB0(weights=None, classes=10, drop_connect=0.1)
ke.load_weights(model, Path("weights.h5"))
ke.plan_cost("EfficientNetB0")  # an error: not a variant
"""
JAX_USE = """
import importlib.util, sys
import numpy as np
import keras, keras_efficientnet

assert importlib.util.find_spec("tensorflow") is None
assert keras.backend.backend() == "jax"
model = keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4)
scores = model.predict(np.zeros((2, 33, 33, 3), np.uint8), verbose=0)
np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
full = keras_efficientnet.EfficientNetB0(weights=None, classes=3)
assert full.output_shape == (None, 3)
full.save("b0.keras")
keras.models.load_model("b0.keras")
assert "keras_efficientnet" in keras_efficientnet.__file__
# Source: keras.applications without its top, plus 1280 * 3 + 3.
assert keras_efficientnet.profile(full).trainable_params == 4_011_391
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A folder with the sdist and the wheel built from it."""
    return built.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(distributions, tmp_path_factory):
    """The wheel with the dependencies of its commands."""
    (wheel,) = distributions.glob("*.whl")
    extras = f"{wheel}[cpu,train,export,weights]"
    return Environment(tmp_path_factory.mktemp("programs"), extras)


@pytest.fixture(scope="module")
def library(distributions, tmp_path_factory):
    """The sdist with JAX as its only backend, and mypy."""
    (sdist,) = distributions.glob("*.tar.gz")
    return Environment(tmp_path_factory.mktemp("library"), sdist, "jax", "mypy")


def test_library_runs_on_jax_without_tensorflow(library):
    library.run("python", "-c", JAX_USE, KERAS_BACKEND="jax")


def test_type_annotations_are_published(library):
    (library.folder / "use.py").write_text(TYPED_USE)
    output = library.run("mypy", "--strict", "use.py", fails=True)
    errors = [line for line in output.splitlines() if ": error:" in line]
    assert len(errors) == 1, output
    assert "use.py:11:" in errors[0]


def test_error_without_a_backend_says_what_to_install(library):
    output = library.run("python", "-c", "import keras_efficientnet", fails=True)
    assert "Keras must have a backend: install tensorflow, or" in output


def test_command_without_its_extra_says_what_to_install(library):
    output = library.run("efficientnet-train", fails=True, KERAS_BACKEND="jax")
    assert "pip install 'efficientnet-keras[cpu,train]'" in output
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def trained(programs):
    """A run folder, from the installed trainer and exporter."""
    programs.run("efficientnet-train", *TINY_RUN, "--workdir=run")
    formats = "--formats=saved_model,tflite,tflite_int8"
    programs.run("efficientnet-export", "--model=run", formats)
    return programs.folder / "run"


def test_installed_commands_train_and_export(trained):
    assert (trained / "model.keras").is_file()
    made = {path.name for path in (trained / "export").iterdir()}
    assert {"saved_model", "model_float32.tflite", "model_int8.tflite"} <= made
    rows = json.loads((trained / "export" / "report.json").read_text())
    assert rows


def test_installed_commands_evaluate_and_predict(programs, trained):
    arguments = ["--model=run", "--data=digits", "--split=test", "--output_dir=scores"]
    programs.run("efficientnet-evaluate", *arguments)
    samples = sorted((trained / "samples").rglob("*.png"))
    for model in ("run", "run/export/model_int8.tflite"):
        output = programs.run("efficientnet-predict", model, samples[0], "--json")
        assert samples[0].name in output


def test_installed_weights_classify_a_photo(programs):
    panda = built.ROOT / "examples" / "photos" / "panda.jpg"
    arguments = ["EfficientNetLite0", "--weights=imagenet", panda]
    assert "giant panda" in programs.run("efficientnet-predict", *arguments)
