import os
import signal
import subprocess
import sys
import threading

import pytest

from training.engine.preemption import Interrupted, Interrupts


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
