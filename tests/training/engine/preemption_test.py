import os
import signal
import subprocess
import sys
import threading

import pytest

from training.engine.preemption import Interrupted, Interrupts, lock


def test_signal_raises_at_once_or_waits_while_postponed(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        with interrupts.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.requested == "SIGTERM"
            with pytest.raises(Interrupted, match="SIGTERM"), interrupts.at_once():
                pytest.fail("the block must not begin")
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert "SIGTERM: saving after this step" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_signal_while_validating_raises_though_the_loop_postpones():
    with Interrupts() as interrupts, interrupts.postponed():
        with pytest.raises(Interrupted), interrupts.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # postponed again


def test_second_ctrl_c_ends_the_process():
    code = (
        "import os, signal\n"
        "from training.engine.preemption import Interrupts\n"
        "with Interrupts() as interrupts, interrupts.postponed():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(interrupts.requested, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "SIGINT\n")


def test_other_threads_go_without_signals():
    found = []

    def work():
        with Interrupts() as interrupts:
            found.append(interrupts.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [""]


def test_folder_is_held_by_one_process(tmp_path):
    path = tmp_path / "run" / ".lock"
    message = rf"run is held by process {os.getpid()} on "
    with lock(path):
        # `flock` is of the open file, so the same process can play the other.
        with pytest.raises(ValueError, match=message), lock(path):
            pytest.fail("taken twice")
        assert str(os.getpid()) in path.read_text()
    with lock(path):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from training.engine.preemption import lock\n"
        "with lock(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / ".lock"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert "process" in path.read_text()
    with lock(path):
        pass
