"""Each extra by itself, in an environment that contains nothing else.

Needs a package index: `make test-wheel`.
"""

import pytest

from tests.support import built
from tests.support.environments import Environment

pytestmark = pytest.mark.slow

PANDA = built.ROOT / "examples" / "photos" / "panda.jpg"
MAKE_MODEL = """
import keras_efficientnet

model = keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4)
model.save("tiny.keras")
model.save_weights("tiny.weights.h5")
"""
# A data set without downloads, prepared by TFDS.
PREPARE_DATA_SET = """
import pathlib
import numpy as np
import tensorflow_datasets as tfds


class Noise(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = pathlib.Path("data")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(names=["dark", "light"]),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        random = np.random.default_rng(0)
        for i in range(40):
            image = random.integers(0, 128, (32, 32, 3), np.uint8) + i % 2 * 127
            yield i, {"image": image.astype(np.uint8), "label": i % 2}


pathlib.Path("data").mkdir()
Noise(data_dir="data").download_and_prepare()
"""
SHORT_RUN = ["--config=digits", "--config.width=0.25", "--config.epochs=1"]
TFDS = ["--config.data=tfds:noise", "--config.data_dir=data", "--workdir=run"]
ADDONS = """
import numpy as np
import keras_efficientnet
from keras_efficientnet.addons import tfa

model = keras_efficientnet.EfficientNet(0.25, 0.3, 33, classes=4)
model.compile(
    tfa.optimizers.LAMB(1e-3), tfa.losses.SigmoidFocalCrossEntropy(
        reduction="sum_over_batch_size"
    )
)
model.fit(np.zeros((4, 33, 33, 3)), np.eye(4), epochs=1, verbose=0)
"""
CAT = """
import pathlib
import skimage

print(pathlib.Path(skimage.__file__).parent / "data/chelsea.png")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = built.build(tmp_path_factory.mktemp("dist"), "--wheel").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that the tests fill, one after the other."""
    return Environment(tmp_path_factory.mktemp("extras"))


@pytest.fixture
def install(wheel, environment, tmp_path):
    """Returns a function that installs the wheel with extras, and nothing else."""

    def make(extras):
        environment.install(f"{wheel}[{extras}]")
        environment.folder = tmp_path
        return environment

    return make


@pytest.mark.parametrize(
    ("extra", "package"), [("gpu", "nvidia-cudnn-cu12"), ("tpu", "tensorflow-tpu")]
)
def test_accelerators_can_be_installed(wheel, environment, extra, package):
    assert f"{package}==" in environment.resolve(f"{wheel}[{extra},train,export]")


def test_cpu_extra_runs_the_library(install):
    environment = install("cpu")
    environment.run("python", "-c", MAKE_MODEL)
    output = environment.run("efficientnet-train", "--help", fails=True)
    assert "pip install 'efficientnet-keras[cpu,train]'" in output
    assert "Traceback" not in output


def test_train_extra_trains_evaluates_and_labels(install):
    environment = install("cpu,train")
    environment.run("efficientnet-train", *SHORT_RUN, "--workdir=run")
    data = ["--data=digits", "--split=test", "--output_dir=scores"]
    assert "top-1" in environment.run("efficientnet-evaluate", "--model=run", *data)
    arguments = ["--teacher=run", "--data=run/samples", "--output=pseudo.npz"]
    environment.run("efficientnet-pseudo-label", *arguments, "--min_confidence=0")
    assert (environment.folder / "pseudo.npz").is_file()


def test_tfds_extra_trains_on_a_prepared_data_set(install):
    environment = install("cpu,train,tfds")
    environment.run("python", "-c", PREPARE_DATA_SET)
    environment.run("efficientnet-train", *SHORT_RUN, *TFDS)


def test_export_extra_converts_and_predicts(install):
    environment = install("cpu,export")
    export(environment, "saved_model,tflite")
    for model in ("tiny.keras", "out/model_float32.tflite"):
        assert "panda" in environment.run("efficientnet-predict", model, PANDA)


def test_onnx_and_openvino_extras_export_and_predict(install):
    environment = install("cpu,export,onnx,openvino")
    export(environment, "onnx,openvino")
    for model in ("out/model.onnx", "out/openvino"):
        assert "panda" in environment.run("efficientnet-predict", model, PANDA)


def test_research_extra_runs_a_study(install):
    environment = install("cpu,train,export,research")
    environment.run("efficientnet-study", "tables", "--output_dir=tables")
    assert (environment.folder / "tables" / "report.md").is_file()
    environment.run("python", "-c", "import optuna")


def test_weights_extra_needs_no_network(install):
    environment = install("cpu,weights")
    mirror = {"KERAS_EFFICIENTNET_MIRROR": "empty", "KERAS_HOME": "keras"}
    for i in range(3):
        code = f"import keras_efficientnet as ke; ke.EfficientNetLite{i}()"
        environment.run("python", "-c", code, **mirror)


def test_safetensors_extra_converts_weights(install):
    environment = install("cpu,weights,safetensors")
    published = "EfficientNetLite0/imagenet"
    environment.run("efficientnet-convert", published, "lite0.safetensors")
    assert (environment.folder / "lite0.safetensors").stat().st_size > 4e6


def test_addons_extra_trains_a_model(install):
    environment = install("addons")
    environment.run("python", "-c", ADDONS)


def test_photos_extra_has_a_cat(install):
    environment = install("cpu,export,weights,photos")
    photo = environment.run("python", "-c", CAT).strip()
    output = environment.run("efficientnet-predict", "EfficientNetLite0", photo)
    assert "Egyptian cat" in output


def test_development_extras_have_the_tools(install, tmp_path):
    environment = install("test,lint,docs")
    built.copy_source(tmp_path)
    environment.run("pytest", "--version")
    environment.run("ruff", "check", "keras_efficientnet")
    environment.run("mypy", "keras_efficientnet/scaling.py")
    environment.run("mkdocs", "--version")
    environment.run("python", "-c", "import build, onnxruntime, openvino, uv, xdist")


def export(environment, formats):
    """Exports a small network, verified on the photos of the repository."""
    environment.run("python", "-c", MAKE_MODEL)
    photos = f"--verify={PANDA.parent}"
    arguments = ["--model=tiny.keras", f"--formats={formats}", photos]
    environment.run("efficientnet-export", *arguments, "--output_dir=out")
