"""Programs started in environments that lack a package."""

import os
import re
import subprocess
import sys

import pytest

from keras_efficientnet.common.cli import missing_packages, startup
from tests.support.paths import ROOT

EXTRAS = {
    "export.main": "cpu,export",
    "export.predict": "cpu,export",
    "keras_efficientnet.weights.convert": "cpu",
    "research.main": "cpu,train,export,research",
    "training.evaluate": "cpu,train",
    "training.main": "cpu,train",
    "training.prepare": "cpu,train",
    "training.pseudo_label": "cpu,train",
    "training.inspect_data": "cpu,train",
}
# Runs at the start of Python and hides a package, as if it were not installed.
HIDE = """
import sys


class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def run_without(tmp_path):
    def run(package, *command):
        (tmp_path / "sitecustomize.py").write_text(HIDE.format(package=package))
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        variables = {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return subprocess.run(
            [sys.executable, *command],
            env={**os.environ, **variables},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    return run


def expected_line(package, extras):
    return (
        f"Error: {package} must be installed: "
        f"pip install 'efficientnet-keras[{extras}]' (or gpu or tpu in place of cpu)"
    )


@pytest.mark.parametrize("program", EXTRAS)
def test_without_tensorflow_help_is_one_line(run_without, program):
    done = run_without("tensorflow", "-m", program, "--help")
    assert done.stderr.splitlines() == [expected_line("tensorflow", EXTRAS[program])]
    assert (done.returncode, done.stdout) == (2, "")


def test_without_keras_an_installed_command_prints_one_line(run_without, tmp_path):
    # As pip writes it.
    script = tmp_path / "efficientnet-export"
    script.write_text("from keras_efficientnet._commands import export\nexport()\n")
    done = run_without("keras", script, "--model=run")
    assert done.stderr.splitlines() == [expected_line("keras", "cpu,export")]
    assert done.returncode == 2


@pytest.mark.parametrize(
    "package",
    [
        "ml_collections",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("absl", "matplotlib")
        ),
    ],
)
def test_names_packages_that_a_program_imports_later(run_without, package):
    done = run_without(package, "-mtraining.main", "--help")
    assert done.stderr.splitlines()[-1] == expected_line(package, "cpu,train")
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_importing_the_library_raises_an_error(run_without):
    done = run_without("tensorflow", "-c", "import keras_efficientnet")
    assert done.returncode == 1
    assert "ImportError: Keras must have a backend" in done.stderr


def test_other_errors_keep_their_traceback(run_without):
    # A module of ours, which no installation can add.
    code = (
        "import sys; sys.argv[0] = '-m'; sys.orig_argv[1:] = ['-m', 'training.main'];"
        "import training; raise ModuleNotFoundError('no', name='training.typo')"
    )
    done = run_without("nothing", "-c", code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "must be installed" not in done.stderr


def test_every_program_has_extras():
    setup = (ROOT / "setup.py").read_text()
    commands = re.findall(r'"([\w-]+)=keras_efficientnet\.', setup)
    assert set(commands) == startup.PROGRAMS.keys()
    packages = map(missing_packages._package_of, startup.PROGRAMS.values())
    assert set(packages) == missing_packages._EXTRAS.keys()
