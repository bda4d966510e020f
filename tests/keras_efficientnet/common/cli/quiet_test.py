import os
import signal
import subprocess
import sys

import pytest

from keras_efficientnet.common.cli import quiet
from keras_efficientnet.common.cli.quiet import quiet_stderr

HEADER = "WARNING: All log messages before absl::InitializeLog() is called are"
ONEDNN = "I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on. You may"
# Without the package, whose import prints such lines.
IMPORT = f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("lines", {quiet.__file__!r})
lines = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lines)
"""


def test_native_output_is_discarded_and_restored(capfd):
    with quiet_stderr():
        os.write(2, b"chatter")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def test_exceptions_propagate(capfd):
    with pytest.raises(KeyError), quiet_stderr():
        raise KeyError("x")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def run(*programs):
    command = [sys.executable, "-c", "\n".join((IMPORT, *programs))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def lines(*texts):
    """Returns the statement that prints the texts to the standard error stream."""
    return f"os.write(2, {''.join(f'{text}{chr(10)}' for text in texts).encode()!r})"


def test_only_lines_about_onednn_are_hidden():
    done = run(
        "with lines.hidden_startup_lines():",
        f"    {lines(HEADER, ONEDNN, 'an error')}",
        "    print('a warning', file=sys.stderr)",
        lines("after it"),
    )
    assert done.stderr.splitlines() == ["an error", "a warning", "after it"]


def test_later_lines_are_not_filtered():
    done = run("with lines.hidden_startup_lines(): pass", lines(ONEDNN))
    assert done.stderr.splitlines() == [ONEDNN]


def test_last_words_of_a_crash_pass():
    done = run(
        "with lines.hidden_startup_lines():",
        f"    {lines(HEADER, 'F0000 a crash')}",
        "    os.abort()",
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.splitlines() == ["F0000 a crash"]


def test_a_process_needs_no_standard_error_stream():
    done = run("os.close(2)", "with lines.hidden_startup_lines(): print('imported')")
    assert (done.returncode, done.stdout) == (0, "imported\n")


def test_without_a_filter_everything_is_printed():
    done = run(
        "sys.executable = '/does/not/exist'",
        "with lines.hidden_startup_lines():",
        f"    {lines(ONEDNN)}",
    )
    assert (done.returncode, done.stderr.splitlines()) == (0, [ONEDNN])
