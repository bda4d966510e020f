"""Study of class activation maps, on small networks."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from research import class_maps
from research.reporting.folder import ResultsTable
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


@pytest.mark.parametrize(
    ("photos", "models", "blocks"),
    # By hand: 13 photos with a map each are 14.0 x 7.8 inches in rows of four, 10.5 x
    # 9.8 in rows of three; with three maps each, rows of three would be too wide.
    [(1, 1, 1), (13, 1, 4), (13, 3, 2), (4, 1, 2), (30, 20, 1)],
)
def test_photos_fill_a_picture_of_three_by_two(photos, models, blocks):
    assert class_maps.blocks_in_a_row(photos, 1 + models) == blocks


def test_a_picture_of_many_photos_is_no_strip(tmp_path):
    crops = {f"{i}_$x$.jpg": np.full((8, 8, 3), 99.0) for i in range(13)}
    rows = ResultsTable(tmp_path / "rows.csv", class_maps.Explained, ("photo", "model"))
    for photo in crops:
        row = class_maps.Explained(photo, "m", "a_$b$", 0.5, "0 0", 0.1, "0 1;2 3")
        rows.add(row)
    class_maps._draw(crops, ["m"], rows, tmp_path / "maps.jpg")
    with Image.open(tmp_path / "maps.jpg") as picture:
        assert 1 < picture.width / picture.height < 2.5


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
