import subprocess
import sys
from contextlib import nullcontext

import pytest

from keras_efficientnet.common.cli import startup
from tests.support.paths import ROOT

SPAWN = "from multiprocessing.spawn import spawn_main"
BATCH_PREDICT = ROOT / "export" / "batch_predict.py"


@pytest.mark.parametrize(
    ("orig_argv", "argv"),
    [
        (["python", "-m", "training.main", "--help"], ["-m"]),
        (["python", "-mexport.main"], ["-m"]),
        (["python", "-X", "dev", "-m", "export.main"], ["/src/export/main.py"]),
        (["python", "-m", "keras_efficientnet.training.evaluate"], ["-m"]),
        (["python", "-m", "keras_efficientnet.weights.convert"], ["-m"]),
        (["python", "/env/bin/efficientnet-train"], ["/env/bin/efficientnet-train"]),
        (["python", "efficientnet-export", "-model=-m"], ["efficientnet-export"]),
        (["python", "efficientnet-study.exe"], ["efficientnet-study.exe"]),
        (["python", "-c", SPAWN, "--multiprocessing-fork"], [str(BATCH_PREDICT)]),
    ],
)
def test_commands_are_recognized(orig_argv, argv):
    assert startup.started_program(orig_argv, argv) in startup.PROGRAMS.values()


@pytest.mark.parametrize(
    ("orig_argv", "argv"),
    [
        (["python", "my_script.py"], ["my_script.py"]),
        (["python", "my_script.py", "-m", "training.main"], ["my_script.py"]),
        (["python", "-m", "pytest", "training"], ["-m"]),
        (["python", "-c", "import keras_efficientnet"], ["-c"]),
        (["python"], [""]),
        (["embedded"], []),
        (["python", "-c", SPAWN, "--multiprocessing-fork"], ["/export/main.py"]),
    ],
)
def test_other_programs_are_not_commands(orig_argv, argv):
    assert startup.started_program(orig_argv, argv) is None


def test_name_of_a_program_in_a_checkout_and_installed():
    assert startup.command_name("export.main") == "python -m export.main"
    installed = startup.command_name("keras_efficientnet.export.main")
    assert installed == "efficientnet-export"
    assert startup.command_name("keras_efficientnet.other") == (
        "python -m keras_efficientnet.other"
    )


COLLECTIONS = """
import gc, sys
sys.argv[0] = sys.argv[1]
if sys.argv[2] == "disabled":
    gc.disable()
before = sum(generation["collections"] for generation in gc.get_stats())
import keras_efficientnet
after = sum(generation["collections"] for generation in gc.get_stats())
print(gc.isenabled(), gc.get_freeze_count() > 100_000, after - before)
"""


def garbage_collection(program, state="enabled"):
    command = [sys.executable, "-c", COLLECTIONS, program, state]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_commands_leave_modules_out_of_garbage_collection():
    enabled, is_frozen, collections = garbage_collection("efficientnet-predict")
    assert (enabled, is_frozen) == ("True", "True")
    assert int(collections) < 100  # with it enabled, 670


def test_imports_leave_garbage_collection_as_it_was():
    assert garbage_collection("notebook")[:2] == ["True", "False"]
    assert garbage_collection("notebook", "disabled")[:2] == ["False", "False"]


IMPORTS = """
import sys
sys.argv[0] = sys.argv[1]
import keras_efficientnet
print(*sorted({"cv2", "matplotlib", "sklearn"} & set(sys.modules)))
import matplotlib, sklearn
"""


def imported_packages(program):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    command = [sys.executable, "-c", IMPORTS, program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_commands_import_keras_without_packages_for_drawing():
    assert imported_packages("efficientnet-predict") == []


@pytest.mark.parametrize(("level", "times"), [("2", 1), ("0", 0)])
def test_level_0_shows_all_startup_lines(monkeypatch, level, times):
    hidden = []
    monkeypatch.setattr(startup, "started_program", lambda *_: "export.main")
    monkeypatch.setattr(startup.gc, "freeze", lambda: None)
    monkeypatch.setattr(
        startup, "hidden_startup_lines", lambda: hidden.append(1) or nullcontext()
    )
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    startup.import_keras()
    assert len(hidden) == times


@pytest.mark.slow
def test_other_programs_get_all_of_keras():
    assert {"matplotlib", "sklearn"} <= set(imported_packages("notebook"))
