import pytest

from keras_efficientnet.common.cli import startup


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
