"""Study of class activation maps, on small networks."""

import pathlib
import shutil

import numpy as np
import pytest

from research import class_maps
from tests.support.paths import PHOTOS


@pytest.fixture(scope="module")
def options(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cam")
    tiny.save(folder / "tiny.keras")
    (folder / "labels.txt").write_text("bear\ncat\ndog\nowl\n")
    (folder / "photos").mkdir()
    for name in ("dog.jpg", "koala.jpg"):
        shutil.copy(PHOTOS / name, folder / "photos")
    models = (str(folder / "tiny.keras"),)
    return class_maps.ClassMapsOptions(photos=(str(folder / "photos"),), models=models)


def test_draws_class_maps_and_resumes_without_recomputing(
    options, tmp_path, monkeypatch
):
    class_maps.run(options, tmp_path)
    found = class_maps.open_folder(tmp_path, "cam", options)
    with found as folder:
        rows = folder.rows(class_maps.Explained, ("photo", "model")).rows
    assert [pathlib.Path(row.photo).name for row in rows] == ["dog.jpg", "koala.jpg"]
    assert all(row.answer in ("bear", "cat", "dog", "owl") for row in rows)
    assert all(0.25 <= row.probability <= 1 for row in rows)
    assert (tmp_path / class_maps.PICTURE).read_bytes().startswith(b"\xff\xd8")
    assert f"({class_maps.PICTURE})" in (tmp_path / "report.md").read_text()
    # A resumed study must not compute any class map again.
    monkeypatch.setattr(class_maps.explain, "class_maps", None)
    (tmp_path / class_maps.PICTURE).unlink()
    class_maps.run(options, tmp_path)
    assert (tmp_path / class_maps.PICTURE).is_file()


def test_maps_are_read_back():
    np.testing.assert_array_equal(class_maps._read_map("1 2;3 4.5"), [[1, 2], [3, 4.5]])


def test_rejects_missing_photos_and_unknown_methods(options, tmp_path):
    with pytest.raises(ValueError, match="photos=nowhere.jpg"):
        class_maps.run(
            class_maps.ClassMapsOptions(photos=("nowhere.jpg",)), tmp_path / "a"
        )
    with pytest.raises(ValueError, match="must be existing photos"):
        class_maps.run(class_maps.ClassMapsOptions(), tmp_path / "a")
    with pytest.raises(ValueError, match="Did you mean 'cam'"):
        class_maps.run(class_maps.ClassMapsOptions(method="cm"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
