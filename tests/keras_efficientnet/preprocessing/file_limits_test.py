import os

import pytest
from PIL import Image

from keras_efficientnet.preprocessing import file_limits
from tests.support import encoded_images, malformed


def test_reads_valid_files_unchanged(tmp_path):
    path = tmp_path / "a"
    for content in malformed.good_files():
        path.write_bytes(content)
        assert file_limits.read_image_file(path) == content


@pytest.mark.parametrize("side", [10_000, 20_000, 30_000])
def test_rejects_a_small_file_with_too_many_pixels(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(malformed.bomb(side))
    with pytest.raises(ValueError, match="must have at most 50 megapixels; "):
        file_limits.read_image_file(path)


def test_limit_equals_that_of_the_saved_model(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded_images.encode(Image.new("L", (50, 40)), "PNG"))
    monkeypatch.setattr(file_limits, "MAX_PIXELS", 2000)
    file_limits.read_image_file(path)
    monkeypatch.setattr(file_limits, "MAX_PIXELS", 1999)
    with pytest.raises(ValueError, match="it has 50 x 40"):
        file_limits.read_image_file(path)


def test_rejects_devices_pipes_folders_and_huge_files(tmp_path, monkeypatch):
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="must be a regular file"):
            file_limits.read_image_file(path)
    monkeypatch.setattr(file_limits, "MAX_BYTES", 1 << 20)
    (tmp_path / "long.png").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ValueError, match="at most 1 MiB"):
        file_limits.read_image_file(tmp_path / "long.png")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_rejects_other_files(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="not an image, or damaged"):
        file_limits.read_image_file(tmp_path / "a.png")


def test_rejects_or_reads_malformed_files(tmp_path):
    path, refused = tmp_path / "a", 0
    for content in malformed.malformed_files(300):
        path.write_bytes(content)
        try:
            assert file_limits.read_image_file(path) == content
        except ValueError:
            refused += 1
    assert refused > 50
