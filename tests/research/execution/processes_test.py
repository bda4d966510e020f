import multiprocessing
import os
import queue
import time

import pytest

from research.execution import processes


def note(folder):
    """Records this process, and waits for the other one."""
    threads = os.environ["TF_NUM_INTRAOP_THREADS"]
    (folder / str(os.getpid())).write_text(threads)
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)


def fail_one(folder):
    """Fails in the process with the lower number; the other would run for a minute."""
    note(folder)
    if os.getpid() == max(int(path.name) for path in folder.iterdir()):
        time.sleep(60)
    raise ValueError("training failed")


@pytest.mark.slow  # the next test too has two processes with one thread each
def test_starts_new_processes_with_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    processes.run_processes(2, note, (tmp_path,))
    notes = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert list(notes.values()) == ["1", "1"]
    assert str(os.getpid()) not in notes
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "7"


def test_terminates_the_others_if_a_process_fails(tmp_path):
    with pytest.raises(RuntimeError, match="ValueError: training failed"):
        processes.run_processes(2, fail_one, (tmp_path,))
    assert not multiprocessing.active_children()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["1", "1"]


def fail_at_length():
    raise ValueError("x" * 1_000_000)


def test_truncates_long_error_messages():
    errors = queue.SimpleQueue()
    with pytest.raises(SystemExit):
        processes._guarded(errors, fail_at_length, ())
    message = errors.get()
    assert message.startswith("ValueError: xxx")
    assert len(message) < 10_000


def test_reports_the_exit_code_of_a_killed_process(tmp_path):
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        processes.run_processes(1, os._exit, (3,))
