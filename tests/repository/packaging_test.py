"""The wheel, used from an empty folder; `wheel_test.py` installs what it declares."""

import email
import subprocess
import sys
import zipfile

import pytest

import keras_efficientnet
from tests.support import built

USE = """
import keras_efficientnet, keras_efficientnet.training, keras_efficientnet.export
import sys
import numpy as np
assert "site" in keras_efficientnet.__file__, keras_efficientnet.__file__
assert "training" not in sys.modules and "export" not in sys.modules
assert keras_efficientnet.decode_predictions.__module__.startswith("keras_efficientnet")
model = keras_efficientnet.EfficientNet(0.25, 0.3, 32)
scores = model.predict(np.zeros((1, 32, 32, 3)), verbose=0)
assert len(keras_efficientnet.decode_predictions(scores)[0]) == 5
from keras_efficientnet.training import main
from keras_efficientnet.training.engine import trainer
from keras_efficientnet.export import main, predict
from keras_efficientnet.research import main, studies
for study in studies.STUDIES.values():
    study.load()
assert "training" not in sys.modules and "export" not in sys.modules
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = built.build(tmp_path_factory.mktemp("wheel"), "--wheel").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder that the wheel is installed in, without what it depends on."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(folder)]
    subprocess.run([*install, *options, str(wheel)], check=True)
    return folder


@pytest.fixture(scope="module")
def metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith("METADATA")]
    return email.message_from_bytes(archive.read(name))


def test_wheel_puts_everything_under_one_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "keras_efficientnet"
    }
    for needed in (
        "imagenet_classes.txt",
        "py.typed",
        "training/configs/digits.py",
        "export/main.py",
        "export/formats/web_assets/index.html",
        "research/paper/table2_family.csv",
        "weights/registry/table.py",
    ):
        assert f"keras_efficientnet/{needed}" in names


def test_wheel_has_every_source_file(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("keras_efficientnet", "training", "export", "research"):
        package = built.ROOT / name
        inside = "" if package.name == "keras_efficientnet" else "keras_efficientnet/"
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"{inside}{file.relative_to(built.ROOT)}" in names


def test_wheel_works_from_an_empty_folder(site, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{USE}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_commands_say_what_to_install(site, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "sys.modules['ml_collections'] = None\n"
        "from keras_efficientnet import _commands; _commands.train()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Error: ml_collections must be installed" in done.stderr
    assert "pip install 'efficientnet-keras[cpu,train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_declared_dependencies_of_the_library_are_few(metadata):
    required = [
        line.split(">")[0].split("!")[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    ]
    assert sorted(required) == ["filelock", "keras", "numpy"]


def test_the_version_is_in_one_place(metadata, tmp_path):
    version = keras_efficientnet.__version__
    assert metadata["Version"] == version
    files = [p for p in built.copy_source(tmp_path).rglob("*") if p.suffix == ".py"]
    holders = [path.name for path in files if f'"{version}"' in path.read_text()]
    assert holders == ["__init__.py"]
