import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# The package without its __init__, which would import Keras.
PRELUDE = """
import os, sys, types
package = sys.modules["keras_efficientnet"] = types.ModuleType("keras_efficientnet")
package.__path__ = ["keras_efficientnet"]
from keras_efficientnet.common.cli import console
console.prepare_streams()
"""


def run_into_closed_pipe(code, *, unbuffered=False):
    """Runs code whose standard output is a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    options = ["-u"] if unbuffered else []
    process = subprocess.run(
        [sys.executable, *options, "-c", PRELUDE + code],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
    )
    os.close(writer)
    return process


@pytest.mark.parametrize("unbuffered", [False, True])
def test_output_that_nobody_reads_is_discarded_silently(unbuffered, tmp_path):
    file = tmp_path / "result.txt"
    code = (
        "for i in range(100_000): print('line', i)\n"
        f"open({str(file)!r}, 'w').write('complete')\n"
        "sys.exit(3)\n"
    )
    done = run_into_closed_pipe(code, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (3, "")
    assert file.read_text() == "complete"


def test_other_broken_pipes_stay_errors():
    code = "os.close(os.pipe()[0]); r, w = os.pipe(); os.close(r); os.write(w, b'x')"
    done = run_into_closed_pipe(code)
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_a_pipe_that_is_read_gets_every_line():
    code = "print('caf\u00e9', flush=True); print('end', file=sys.stderr); print('z')"
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("caf\\xe9\nz\n", "end\n")
