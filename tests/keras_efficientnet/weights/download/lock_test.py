import errno
import threading
import time

import pytest

from keras_efficientnet.weights.download import lock


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "a.lock"
    inside, most = [], []

    def work():
        for _ in range(5):
            with lock.exclusive(path, "works") as locked:
                assert locked
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert list(tmp_path.iterdir()) == []


def test_lock_is_freed_by_an_error(tmp_path):
    path = tmp_path / "a.lock"
    with pytest.raises(KeyError), lock.exclusive(path, "fails"):
        raise KeyError
    with lock.exclusive(path, "works") as locked:
        assert locked


def test_long_wait_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "_TELL_SECONDS", 0.0)
    path = tmp_path / "a.lock"
    free = threading.Event()
    held = threading.Event()

    def hold():
        with lock.exclusive(path, "works"):
            held.set()
            free.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.5, free.set).start()
    with lock.exclusive(path, "waits"):
        assert free.is_set()
    thread.join()
    assert capsys.readouterr().err == "Another process waits: waiting for it.\n"


def test_file_system_without_locks(tmp_path, monkeypatch):
    def fails(number):
        def flock(*args):
            raise OSError(number, "flock")

        monkeypatch.setattr(lock.fcntl, "flock", flock)

    fails(errno.ENOLCK)
    with lock.exclusive(tmp_path / "a.lock", "works") as locked:
        assert not locked
    fails(errno.EIO)
    with pytest.raises(OSError, match="flock"), lock.exclusive(tmp_path / "b", "x"):
        pass
