import dataclasses
import hashlib
import subprocess

import pytest

from keras_efficientnet.weights.download import checksums, fetch
from keras_efficientnet.weights.formats import reading
from keras_efficientnet.weights.registry import table
from tests.support.faulty_server import Answer, serving

FIRST = reading.HDF5_MAGIC + b"first"
OTHER = reading.HDF5_MAGIC + b"other"


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


@pytest.fixture
def unchecked():
    """Server of a file without a published checksum, and the file's record."""
    with serving(Answer(FIRST)) as server:
        row = table.find("imagenet", "EfficientNetB0")
        yield server, dataclasses.replace(row, url=server.url(), checksum=None)


def test_rejects_a_malformed_checksum(tmp_path):
    with pytest.raises(ValueError, match=r"'md5:...' or .* checksum='crc32:12'"):
        checksums.verify(tmp_path, "crc32:12")


def test_later_downloads_must_equal_the_first(unchecked):
    server, row = unchecked
    path = fetch.fetch(row)
    path.unlink()
    server.answers = [Answer(OTHER)]
    note = checksums.first_download_note(path)
    with pytest.raises(
        OSError, match=f"sha256:.* first download had it. Delete {note}"
    ):
        fetch.fetch(row)
    assert not path.exists()
    note.unlink()
    assert fetch.fetch(row).read_bytes() == OTHER


def test_the_same_file_may_be_downloaded_again(unchecked):
    _, row = unchecked
    fetch.fetch(row).unlink()
    assert fetch.fetch(row).read_bytes() == FIRST


def test_changed_file_in_the_cache_is_rejected(unchecked):
    _, row = unchecked
    fetch.fetch(row).write_bytes(OTHER)
    with pytest.raises(ValueError, match="had it. Delete it to download it again"):
        fetch.fetch(row)


def test_the_note_of_a_first_download_has_the_format_of_sha256sum(unchecked):
    _, row = unchecked
    path = fetch.fetch(row)
    note = checksums.first_download_note(path)
    digest = hashlib.sha256(FIRST).hexdigest()
    assert note.read_text() == f"{digest}  {path.name}\n"
    done = subprocess.run(["sha256sum", "--check", note.name], cwd=note.parent)
    assert done.returncode == 0


def test_files_in_a_read_only_cache_are_used(unchecked, monkeypatch):
    _, row = unchecked
    path = fetch.cache_path(row)
    path.parent.mkdir(parents=True)
    path.write_bytes(FIRST)

    def fail(*arguments):
        raise PermissionError

    monkeypatch.setattr(checksums, "write_text", fail)
    assert fetch.fetch(row) == path


def test_published_checksum_needs_no_note(unchecked):
    _, row = unchecked
    digest = hashlib.sha256(FIRST).hexdigest()
    path = fetch.fetch(dataclasses.replace(row, checksum=f"sha256:{digest}"))
    assert not checksums.first_download_note(path).exists()
