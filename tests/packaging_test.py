"""The wheel, used from an empty folder."""

import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
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
from keras_efficientnet.training import main, loop
from keras_efficientnet.export import main, predict
from keras_efficientnet.research import main, studies
for study in studies.STUDIES.values():
    study.load()
assert "training" not in sys.modules and "export" not in sys.modules
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Path of the built wheel; made from a copy, so that nothing is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in filter(None, map(bytes.decode, listed)):
        source = ROOT / name
        if source.is_file() and not name.startswith(("tests/", "examples/", "docs/")):
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", ".."],
        cwd=folder / "source",
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return path


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
        "research/paper/table2_family.csv",
        "weights/table.py",
    ):
        assert f"keras_efficientnet/{needed}" in names


def test_wheel_works_from_an_empty_folder(wheel, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([*install, *options, str(wheel)], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{USE}"
    subprocess.run([sys.executable, "-c", code], cwd=empty, check=True)


def test_declared_dependencies_of_the_library_are_few(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [n for n in archive.namelist() if n.endswith("METADATA")]
    lines = archive.read(name).decode().splitlines()
    required = [
        line.removeprefix("Requires-Dist: ").split(">")[0].split("!")[0]
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert sorted(required) == ["keras", "numpy"]
