import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.support.paths import ROOT
from training.engine.preemption import Interrupted, SignalHandler

# The packages without their __init__, which import Keras.
LIGHT = """
import sys, types
for name in ("keras_efficientnet", "training"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [name]
"""


def test_signal_raises_at_once_or_waits_while_postponed(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with SignalHandler() as interrupts:
        with interrupts.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.requested == "SIGTERM"
            with pytest.raises(Interrupted, match="SIGTERM"), interrupts.at_once():
                pytest.fail("the block must not begin")
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert "SIGTERM: saving after this step" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_signal_during_validation_raises_at_once():
    with SignalHandler() as interrupts, interrupts.postponed():
        with pytest.raises(Interrupted), interrupts.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # postponed again


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_lost_terminal_saves_as_sigterm_does():
    code = (
        f"{LIGHT}import os, signal\n"
        "from training.engine.preemption import SignalHandler\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with SignalHandler() as interrupts, interrupts.postponed():\n"
        "    os.close(int(sys.argv[1]))\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('into a closed pipe', file=sys.stderr, flush=True)\n"
        "    sys.exit(7 if interrupts.requested == 'SIGHUP' else 1)\n"
    )
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(reader)],
        stderr=writer,
        pass_fds=[reader],
        cwd=ROOT,
    )
    os.close(reader)
    os.close(writer)
    assert process.wait() == 7


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_nohup_keeps_a_run_going():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalHandler() as interrupts, interrupts.postponed():
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupts.requested == ""
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_second_ctrl_c_ends_the_process():
    code = (
        f"{LIGHT}import os, signal\n"
        "from training.engine.preemption import SignalHandler\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with SignalHandler() as interrupts, interrupts.postponed():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(interrupts.requested, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "SIGINT\n")


def test_other_threads_ignore_signals():
    found = []

    def work():
        with SignalHandler() as interrupts:
            found.append(interrupts.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [""]
