import contextlib
import csv
import errno
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from keras_efficientnet.common import files
from tests.support.paths import ROOT

# The package without its __init__, which would import Keras.
LIGHT = """
import os, pathlib, sys, types
package = sys.modules["keras_efficientnet"] = types.ModuleType("keras_efficientnet")
package.__path__ = ["keras_efficientnet"]
from keras_efficientnet.common import files
path = pathlib.Path(sys.argv[1])
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", LIGHT + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_cache_is_inside_keras_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / "keras_efficientnet"
    monkeypatch.setenv("KERAS_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / ".keras" / "keras_efficientnet"


def test_cache_without_a_home_folder_is_in_the_temporary_folder(monkeypatch, tmp_path):
    def fail(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "expanduser", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert files.cache_dir() == tmp_path / ".keras" / "keras_efficientnet"


@pytest.mark.parametrize("shared", [False, True])
def test_failed_write_keeps_the_old_file(tmp_path, shared, monkeypatch):
    path = tmp_path / "a.weights.h5"
    files.write_text(path, "old", shared=shared)
    with contextlib.suppress(KeyError), files.replacing(path, shared=shared) as part:
        assert part.name.endswith(".a.weights.h5")
        part.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyError))
    with pytest.raises(KeyError):
        files.write_text(path, "new", shared=shared)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a full disk")
def test_full_disk_error_names_the_path_and_leaves_no_file(tmp_path):
    path = tmp_path / "a.txt"
    with (
        pytest.raises(OSError, match=r"a.txt could not be written: No space") as caught,
        files.replacing(path),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_concurrent_writers_of_a_shared_file_do_not_collide(tmp_path):
    path = tmp_path / "a.txt"
    with files.replacing(path, shared=True) as one:
        one.write_text("one")
        files.write_text(path, "two", shared=True)
        assert path.read_text() == "two"
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_unfinished_file_of_a_killed_process_is_removed(tmp_path):
    code = (
        "with files.replacing(path, shared=sys.argv[2] == 'True') as unfinished:\n"
        "    unfinished.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path, other = tmp_path / "a.txt", tmp_path / "unfinished.thesis.a.txt"
    other.write_text("the user's own")
    for shared in (False, True):
        assert run(code, path, shared).returncode == -9
        left = {*tmp_path.iterdir()} - {other}
        assert len(left) == 1
        files.write_text(path, "whole", shared=shared)
        if shared:  # until it is old, another process may be writing it
            assert {*tmp_path.iterdir()} - {other} == {path, *left}
            long_ago = time.time() - 2 * 24 * 3600
            for stale in (*left, other):
                os.utime(stale, (long_ago, long_ago))
            files.write_text(path, "whole", shared=shared)
        assert {*tmp_path.iterdir()} - {other} == {path}
        path.unlink()
    assert other.is_file()


def test_scratch_folder_of_a_killed_process_is_removed(tmp_path):
    (tmp_path / ".unfinished-1a2b").mkdir()
    (tmp_path / ".unfinished-1a2b" / "model.tflite").write_text("half")
    with files.scratch_folder(tmp_path, "exports") as scratch:
        assert {*tmp_path.glob(".unfinished-*")} == {scratch}
    assert list(tmp_path.iterdir()) == []


def test_csv_cells_cannot_be_formulas(tmp_path):
    path = tmp_path / "a.csv"
    files.write_csv(path, [{"label": "=1+1", "n": -1}, {"label": "-0.5", "n": 2.5}])
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["label", "n"], ["'=1+1", "-1"], ["-0.5", "2.5"]]


def test_rejects_a_file_that_would_not_fit_before_writing(tmp_path):
    files.check_space(tmp_path, 1000)
    with pytest.raises(OSError, match="No space left") as caught:
        files.check_space(tmp_path, 1 << 60)
    assert caught.value.errno == errno.ENOSPC


def test_folder_is_held_by_one_process(tmp_path):
    path = tmp_path / "run" / ".lock"
    message = rf"run is held by process {os.getpid()} on "
    with files.lock(path):
        # Locks belong to open files, so the same process can act as the other one.
        with pytest.raises(files.InUseError, match=message), files.lock(path):
            pytest.fail("taken twice")
        assert str(os.getpid()) in path.read_text()
    with files.lock(path):
        pass


HOLD = "with files.lock(path): {}"


def test_lock_excludes_other_processes(tmp_path):
    path = tmp_path / ".lock"
    with files.lock(path):
        done = run(HOLD.format("print('held')"), path)
    assert done.stdout == ""
    assert f"held by process {os.getpid()} on" in done.stderr


def test_lock_of_a_killed_process_is_released(tmp_path):
    path = tmp_path / ".lock"
    assert run(HOLD.format("os.kill(os.getpid(), 9)"), path).returncode == -9
    assert "process" in path.read_text()
    with files.lock(path):
        pass


def test_waiting_lock_has_one_holder_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_POLL_SECONDS", 0.01)
    path = tmp_path / "a.lock"
    inside, most = [], []

    def work():
        for _ in range(3):
            with files.waiting_lock(path, "works") as locked:
                assert locked
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 9
    assert list(tmp_path.iterdir()) == []


def test_error_releases_the_waiting_lock(tmp_path):
    path = tmp_path / "a.lock"
    with pytest.raises(KeyError), files.waiting_lock(path, "fails"):
        raise KeyError
    with files.waiting_lock(path, "works") as locked:
        assert locked


def test_long_wait_is_reported_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "_REPORT_SECONDS", 0.0)
    path = tmp_path / "a.lock"
    free = threading.Event()
    held = threading.Event()

    def hold():
        with files.waiting_lock(path, "works"):
            held.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.5, free.set).start()
    with files.waiting_lock(path, "waits"):
        assert free.is_set()
    thread.join()
    assert capsys.readouterr().err == "Another process waits: waiting for it.\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_warns_about_a_file_system_without_locks(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: refuse(number))
    with (
        pytest.warns(UserWarning, match="has no file locks"),
        files.lock(tmp_path / "a"),
    ):
        pass
    with (
        pytest.warns(UserWarning, match="make sure that no other process"),
        files.waiting_lock(tmp_path / "b", "works") as locked,
    ):
        assert not locked


def test_falls_back_to_a_soft_lock_where_flock_is_not_implemented(
    tmp_path, monkeypatch
):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: refuse(errno.ENOSYS))
    with pytest.warns(UserWarning, match="flock"), files.lock(tmp_path / "a"):
        pass


def test_raises_other_errors_of_the_lock(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: refuse(errno.EIO))
    with pytest.raises(OSError, match="flock"), files.lock(tmp_path / "a"):
        pytest.fail("the block must not begin")
    with pytest.raises(OSError, match="flock"), files.waiting_lock(tmp_path / "b", "x"):
        pytest.fail("the block must not begin")


def refuse(number):
    raise OSError(number, "flock")
