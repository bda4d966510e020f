"""npm packages, with a fake npm."""

import base64
import dataclasses
import hashlib
import io
import os
import sys
import tarfile

import pytest

from export.formats import npm
from tests.support.npm_packages import tarball

FILES = {"dist/index.js": b"export {};\n", "wasm/a.wasm": b"\0asm"}


CONTENT = tarball(FILES)
DIGEST = base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
PACKAGE = npm.Package("@some/thing", "1.2.3", f"sha512-{DIGEST}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder with an empty cache; npm is not installed."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(npm.FOLDER_VARIABLE, raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path / "keras" / "keras_efficientnet" / "npm"


def install_npm(tmp_path, code):
    """Installs a fake npm; `target` in its code is the destination folder."""
    if os.name == "nt":
        pytest.skip("the stand-in for npm is a Unix program")
    program = tmp_path / "bin" / "npm"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "assert sys.argv[1:3] == ['pack', '@some/thing@1.2.3'], sys.argv\n"
        "target = pathlib.Path(sys.argv[sys.argv.index('--pack-destination') + 1])\n"
        f"{code}\n"
    )
    program.chmod(0o755)


def packs(content):
    """Returns code that packs some bytes."""
    return f"(target / 'some-thing-1.2.3.tgz').write_bytes({content!r})"


def test_npm_downloads_once(tmp_path, cache):
    install_npm(tmp_path, packs(CONTENT))
    assert npm.read_members(PACKAGE, FILES) == FILES
    (tmp_path / "bin" / "npm").unlink()
    assert npm.read_members(PACKAGE, ["wasm/a.wasm"]) == {"wasm/a.wasm": b"\0asm"}
    assert [path.name for path in cache.iterdir()] == ["some-thing-1.2.3.tgz"]


def test_error_without_npm_explains_what_to_do(cache):
    message = (
        r"@some/thing@1.2.3 could not be downloaded \(npm is not installed\). Install "
        r"Node.js, .* run `npm pack @some/thing@1.2.3` on another machine and set "
        r"\$KERAS_EFFICIENTNET_NPM"
    )
    with pytest.raises(FileNotFoundError, match=message):
        npm.fetch(PACKAGE)
    assert not cache.exists()


def test_error_contains_the_message_of_npm(tmp_path, cache):
    output = "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error at x"
    install_npm(tmp_path, f"sys.exit({output!r})")
    with pytest.raises(OSError, match=r"\(code ECONNREFUSED, syscall connect\)"):
        npm.fetch(PACKAGE)
    assert list(cache.iterdir()) == []


def test_rejects_a_download_without_a_file(tmp_path):
    install_npm(tmp_path, "")
    with pytest.raises(OSError, match="npm wrote no some-thing-1.2.3.tgz"):
        npm.fetch(PACKAGE)


def test_npm_times_out(tmp_path, monkeypatch):
    install_npm(tmp_path, "import time; time.sleep(20)")
    monkeypatch.setattr(npm, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(TimeoutError, match="npm took over 0.1 seconds"):
        npm.fetch(PACKAGE)


def test_rejects_a_wrong_checksum(tmp_path, cache):
    install_npm(tmp_path, packs(tarball({"dist/index.js": b"evil"})))
    message = "must have the checksum sha512-.* Received: sha512-.* of the file that"
    with pytest.raises(ValueError, match=message):
        npm.fetch(PACKAGE)
    assert list(cache.iterdir()) == []


def test_rejects_a_damaged_cache(cache):
    cache.mkdir(parents=True)
    (cache / PACKAGE.tarball).write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"1.2.3.tgz; delete it to download it again"):
        npm.fetch(PACKAGE)


def test_a_folder_of_tarballs_needs_no_npm(tmp_path, monkeypatch, cache):
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / PACKAGE.tarball).write_bytes(CONTENT)
    assert npm.fetch(PACKAGE) == CONTENT
    assert not cache.exists()


def test_rejects_a_folder_without_the_tarball(tmp_path, monkeypatch):
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(tmp_path))
    message = r"must be a folder with some-thing-1.2.3.tgz, .* Received: .*"
    with pytest.raises(FileNotFoundError, match=message):
        npm.fetch(PACKAGE)


def test_rejects_a_folder_with_another_tarball(tmp_path, monkeypatch):
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / PACKAGE.tarball).write_bytes(b"other")
    with pytest.raises(ValueError, match="must have the checksum"):
        npm.fetch(PACKAGE)


def test_rejects_a_folder_as_a_member(tmp_path, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/dist")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    digest = base64.b64encode(hashlib.sha512(stream.getvalue()).digest()).decode()
    package = dataclasses.replace(PACKAGE, integrity=f"sha512-{digest}")
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(tmp_path))
    (tmp_path / package.tarball).write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="must be a file. Received: dist"):
        npm.read_members(package, ["dist"])


@pytest.mark.parametrize(
    ("name", "tarball"),
    [
        ("@litertjs/core", "litertjs-core-1.0.0.tgz"),
        ("playwright-core", "playwright-core-1.0.0.tgz"),
    ],
)
def test_tarballs_are_named_as_npm_names_them(name, tarball):
    assert npm.Package(name, "1.0.0", "").tarball == tarball
