"""Content and metadata of the wheel; `wheel_test.py` installs its dependencies."""

import email
import re
import subprocess
import sys
import zipfile

import pytest
from build.util import project_wheel_metadata

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
    """A folder with the installed wheel, without its dependencies."""
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


def test_wheel_contains_a_single_package(wheel):
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


@pytest.mark.slow  # the tests above list the files of the wheel
def test_wheel_works_from_an_empty_folder(site, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{USE}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.slow  # missing_packages_test.py does this in the checkout
def test_commands_name_missing_packages(site, tmp_path):
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


LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Returns a function: address of the repository -> metadata of the wheel."""
    source = built.copy_source(tmp_path)

    def build(address):
        for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("REPOSITORY_URL", address)
        return project_wheel_metadata(source, isolated=False)

    return build


def test_published_readme_links_to_the_release(published):
    address = "https://example.org/owner/name"
    found = published(address)
    tag = f"v{keras_efficientnet.__version__}"
    written = LINK.findall((built.ROOT / "README.md").read_text())
    shown = LINK.findall(found.get_payload())
    assert len(shown) == len(written)
    for before, after in zip(written, shown, strict=True):
        kind = "raw" if before.endswith((".jpg", ".png")) else "blob"
        path = f"README.md{before}" if before.startswith("#") else before
        is_absolute = before.startswith("http")
        assert after == (before if is_absolute else f"{address}/{kind}/{tag}/{path}")
    assert f"Changelog, {address}/blob/{tag}/CHANGELOG.md" in (
        found.get_all("Project-URL")
    )
    assert found["Home-page"] == address


def test_published_readme_without_an_address_has_no_relative_links(published):
    found = published("")
    links = LINK.findall(found.get_payload())
    assert all(link.startswith("https://") for link in links)
    assert "Project-URL" not in found
    for field in ("Author", "Keywords", "Summary", "License"):
        assert found[field]


def test_library_has_few_dependencies(metadata):
    required = [
        line.split(">")[0].split("!")[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    ]
    assert sorted(required) == ["filelock", "keras", "numpy"]


def test_version_is_stated_once(metadata, tmp_path):
    version = keras_efficientnet.__version__
    assert metadata["Version"] == version
    files = [p for p in built.copy_source(tmp_path).rglob("*") if p.suffix == ".py"]
    holders = [path.name for path in files if f'"{version}"' in path.read_text()]
    assert holders == ["__init__.py"]
