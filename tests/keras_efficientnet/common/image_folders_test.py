import os
import socket
from pathlib import Path

import pytest

from keras_efficientnet.common import image_folders
from keras_efficientnet.common.image_folders import (
    find_images,
    list_images,
    open_class_folders,
)
from tests.support.image_files import write_images

SYSTEM = (
    ".ipynb_checkpoints/a-checkpoint.png",
    "._a.jpg",
    ".hidden.png",
    "__MACOSX/a.png",
    "@eaDir/a.png",
    "$RECYCLE.BIN/a.png",
    "#recycle/a.png",
)


def names(paths, root):
    return [Path(path).relative_to(root).as_posix() for path in paths]


def test_ignores_hidden_and_system_files(tmp_path):
    write_images(tmp_path, "cat/a.png", "cat/deep/b.JPG", "dog/a.gif")
    write_images(tmp_path, *SYSTEM, *(f"cat/{name}" for name in SYSTEM))
    wanted = ["cat/a.png", "cat/deep/b.JPG", "dog/a.gif"]
    assert names(list_images(tmp_path), tmp_path) == wanted
    assert names(find_images([str(tmp_path)]), tmp_path) == wanted
    found = open_class_folders(tmp_path)
    assert found.class_names == ("cat", "dog")
    assert names(found.paths, tmp_path) == wanted
    assert found.labels.tolist() == [0, 0, 1]


def test_sorts_integer_class_folders_numerically(tmp_path):
    write_images(tmp_path, *(f"{i}/a.png" for i in range(1, 13)))
    found = open_class_folders(tmp_path)
    assert found.class_names == tuple(str(i) for i in range(1, 13))
    write_images(tmp_path, "b/a.png")  # now they are not all numbers
    assert open_class_folders(tmp_path).class_names[:4] == ("1", "10", "11", "12")


def test_treats_a_folder_named_like_an_image_as_a_folder(tmp_path):
    write_images(tmp_path, "album.jpg/a.png")
    assert names(list_images(tmp_path), tmp_path) == ["album.jpg/a.png"]


def test_warns_about_pipes_sockets_and_broken_links_without_opening_them(tmp_path):
    write_images(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s.png"))
        with pytest.warns(
            UserWarning,
            match=r"image names that are not regular files: 4 \(gone.jpg, pipe.jpg, s",
        ):
            assert names(list_images(tmp_path), tmp_path) == ["a.png"]


def test_warns_once_about_formats_that_cannot_be_decoded(tmp_path):
    write_images(tmp_path, "cat/a.png", "cat/1.HEIC", "cat/2.heic", "dog/b.jfif")
    (tmp_path / "cat" / "notes.txt").write_text("not an image, so not reported")
    with pytest.warns(UserWarning, match="decoded") as caught:
        found = open_class_folders(tmp_path)
    (warning,) = caught
    assert ".heic files that cannot be decoded: 2 (cat/1.HEIC, cat/2.heic)" in str(
        warning.message
    )
    assert "notes" not in str(warning.message)
    assert names(found.paths, tmp_path) == ["cat/a.png", "dog/b.jfif"]


def test_warns_about_formats_that_this_pillow_cannot_read(tmp_path, monkeypatch):
    write_images(tmp_path, "a.png", "b.avif")
    suffixes = tuple(s for s in image_folders.IMAGE_SUFFIXES if s != ".avif")
    monkeypatch.setattr(image_folders, "readable_suffixes", lambda: suffixes)
    with pytest.warns(UserWarning, match=r".avif files that .*: 1 \(b.avif\)"):
        assert names(list_images(tmp_path), tmp_path) == ["a.png"]


def test_tiff_and_avif_need_pillow(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    image_folders.readable_suffixes.cache_clear()
    try:
        missing = {*image_folders.IMAGE_SUFFIXES} - {*image_folders.readable_suffixes()}
        assert missing == {".tif", ".tiff", ".avif"}
    finally:
        image_folders.readable_suffixes.cache_clear()


def test_follows_links_out_of_the_data_but_not_cyclic_ones(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    write_images(data, "cat/a.png", "dog/a.png")
    write_images(other, "b.png")
    (data / "cat" / "more").symlink_to(other)
    (data / "cat" / "loop").symlink_to(data)
    (data / "dog" / "twin").symlink_to(data / "cat")
    (data / "dog" / "up").symlink_to(tmp_path)
    with pytest.warns(UserWarning, match="links") as caught:
        found = open_class_folders(data)
    text = str(caught[0].message)
    assert "links to folders, followed: 1 (cat/more)" in text
    assert "not followed (cyclic or repeated): 3 (cat/loop, dog/twin, dog/up)" in text
    assert names(found.paths, data) == ["cat/a.png", "cat/more/b.png", "dog/a.png"]


def test_class_folders_can_be_links(tmp_path):
    write_images(tmp_path / "elsewhere", "a.png")
    write_images(tmp_path / "data", "dog/a.png")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere")
    found = open_class_folders(tmp_path / "data")
    assert names(found.paths, tmp_path / "data") == ["cat/a.png", "dog/a.png"]


def test_warns_about_unreadable_subfolders(tmp_path, monkeypatch):
    write_images(tmp_path, "a.png", "secret/b.png")

    def scandir(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.warns(UserWarning, match=r"folders that cannot be read: 1 \(secret\)"):
        assert names(list_images(tmp_path), tmp_path) == ["a.png"]
    with pytest.raises(ValueError, match=r"readable. Received: .*secret \(Permission"):
        open_class_folders(tmp_path / "secret")


def test_warns_about_images_beside_class_folders(tmp_path):
    write_images(tmp_path, "cat/a.png", "dog/a.png", "preview.png")
    with pytest.warns(UserWarning, match=r"next to the class .*\(preview.png\)"):
        assert len(open_class_folders(tmp_path)) == 2


def test_rejects_missing_and_empty_folders(tmp_path):
    with pytest.raises(ValueError, match=r"must exist. Received: .*no$"):
        list_images(tmp_path / "no")
    (tmp_path / "notes.txt").write_text("a file")
    with pytest.raises(ValueError, match=r"notes.txt \(not a folder\)"):
        list_images(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"must hold images \(.jpg, .* It has none"):
        list_images(tmp_path)
    with pytest.raises(ValueError, match="one subfolder per class, but has none"):
        open_class_folders(tmp_path)


def test_class_names_must_be_utf8_but_file_names_need_not(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_images(tmp_path, "cat/a.png", f"cat/{name}.png")
    assert len(open_class_folders(tmp_path)) == 2
    write_images(tmp_path, f"{name}/a.png")
    with pytest.raises(ValueError, match=r"must be UTF-8; .* Received: .*caf\\udce9"):
        open_class_folders(tmp_path)


def test_expands_files_folders_and_patterns_without_duplicates(tmp_path):
    write_images(tmp_path, "a.png", "deep/b.jpg", "deep/c.png", "x[1].png", "d/e.png")
    (tmp_path / "notes.txt").write_text("named by the user")
    found = find_images(
        [
            str(tmp_path / "deep"),
            str(tmp_path / "*.png"),
            "nowhere.png",
            str(tmp_path / "deep" / "b.jpg"),
            str(tmp_path / "x[1].png"),  # a file despite its brackets
            str(tmp_path / "[d]"),  # a pattern that matches a folder
            str(tmp_path / "notes.txt"),
        ]
    )
    inside = [str(p).removeprefix(f"{tmp_path}/") for p in found]
    assert inside == [
        *("deep/b.jpg", "deep/c.png", "a.png", "x[1].png", "nowhere.png"),
        *("d/e.png", "notes.txt"),
    ]
