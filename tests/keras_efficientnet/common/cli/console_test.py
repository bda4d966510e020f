import os
import pty
import subprocess
import sys

import pytest

from keras_efficientnet.common.cli import console
from tests.support.paths import ROOT

# The package without its __init__, which would import Keras.
PRELUDE = """
import os, sys, types
package = sys.modules["keras_efficientnet"] = types.ModuleType("keras_efficientnet")
package.__path__ = ["keras_efficientnet"]
from keras_efficientnet.common.cli import console
console.prepare_streams()
"""


def run(code, *, closed="", encoding="utf-8"):
    shell = f'exec "$@" {closed}'
    return subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-c", PRELUDE + code],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_replaces_closed_streams(tmp_path, closed):
    path = tmp_path / "a.txt"
    done = run(
        f"file = open({str(path)!r}, 'w')\n"
        "assert file.fileno() > 2, file.fileno()\n"
        "sys.stdin.read(), print('out'), print('err', file=sys.stderr)\n"
        "os.write(2, b'library')\n"
        "file.write('whole')",
        closed=closed + (" </dev/null" if "<" not in closed else ""),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if " >&-" in f" {closed}" else "out\n")
    assert path.read_text() == "whole"


def test_escapes_characters_that_the_encoding_lacks():
    done = run("print('caf\u00e9 \u6771')", encoding="ascii")
    assert (done.returncode, done.stdout) == (0, "caf\\xe9 \\u6771\n")


@pytest.mark.parametrize("open_pair", [pty.openpty, os.pipe])
def test_leaves_closed_terminals_and_pipes(open_pair):
    parent, child = open_pair()
    code = PRELUDE + (
        "sys.stdin.readline()\n"
        "console.leave_terminal()\n"
        "print('nobody reads this', file=sys.stderr, flush=True)\n"
        "sys.exit(7)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stderr=child
    )
    os.close(child)
    os.close(parent)
    process.communicate(b"\n")
    assert process.returncode == 7


def test_prints_errors_without_control_characters(capsys):
    console.report("Error: \x1b[2Jcat\nsecond line")
    assert capsys.readouterr().err == "Error: \\x1b[2Jcat\nsecond line\n"
