"""Commands in the bare environments of services and containers."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support import export_run
from tests.support.paths import ROOT

# No home folder, an ASCII locale, and a folder that even root cannot write to.
BARE = {
    "HOME": "/proc/none",
    "LC_ALL": "C",
    "PATH": os.environ["PATH"],
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "0",
}
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run folder whose class names contain non-ASCII and control characters."""
    folder = tmp_path_factory.mktemp("bare") / "run"
    shutil.copytree(export_run.run_folder(), folder)
    names = (folder / "labels.txt").read_text().splitlines()
    odd = [f"{name} caf\u00e9\x1b[2J" for name in names]
    (folder / "labels.txt").write_text("\n".join(odd) + "\n", encoding="utf-8")
    return folder


def run(*command, closed="<&- 2>&-"):
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", *command],
        env=BARE,
        cwd="/proc",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow  # predict, below, needs the same of its environment
def test_dry_run_works_in_a_bare_environment():
    done = run("training.main", "--config=digits", "--dry_run")
    assert done.returncode == 0
    assert "1,079 train" in done.stdout


@pytest.mark.slow  # main_test.py rejects unknown recipes in a usual environment
def test_training_reports_errors_without_standard_output():
    done = run("training.main", "--config=digitz", "--dry_run", closed="<&- >&-")
    assert done.returncode == 2
    assert "Did you mean 'digits'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--json",), marks=pytest.mark.slow)]
)
def test_predict_prints_in_a_bare_environment(model, options):
    photos = model / "samples" / "verification"
    done = run("export.predict", str(model), str(photos), *options)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    if options:
        (first, *_) = json.loads(done.stdout)
        assert first["classes"][0]["label"].endswith("caf\u00e9\x1b[2J")
    else:
        assert r"caf\xe9\x1b[2J  " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("training.evaluate", "--model={model}", "--images={photos}"),
        (
            "training.pseudo_label",
            "--teacher={model}",
            "--data={photos}",
            "--output={out}.npz",
            "--min_confidence=0",
        ),
        ("export.main", "--model={plain}", "--formats=tflite", "--output_dir={out}"),
        ("research.main", "--help"),
        ("keras_efficientnet.weights.convert", "--help"),
        ("keras_efficientnet.weights.registry.listing", "*lite0*"),
    ],
    ids=lambda command: command[0],
)
def test_commands_work_in_a_bare_environment(model, command, tmp_path):
    images = next((model / "samples" / "verification").iterdir())
    places = {
        "model": model,
        "plain": export_run.run_folder(),
        "photos": images,
        "out": tmp_path / "out",
    }
    module, *arguments = (part.format(**places) for part in command)
    done = run(module, *arguments)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
