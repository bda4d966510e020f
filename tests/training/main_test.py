import dataclasses
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags

from keras_efficientnet.common import files
from keras_efficientnet.common.cli import exit_codes
from training import config, dry_run, main


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "training.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_dry_run_prints_the_plan_with_overrides(tmp_path):
    recipe = str(pathlib.Path(config.RECIPES / "digits.py"))
    done = run(
        f"--config={recipe}",
        f"--workdir={tmp_path / 'run'}",
        "--dry_run",
        "--config.batch_size=128",
        "--config.epochs=2",
        "--config.dropout=0.5",
    )
    assert done.returncode == 0, done.stderr
    assert "1,079 train, 359 validation, 359 test" in done.stdout
    # 2 * 1079 / 128 is 16.9 steps.
    assert "16 of 128 images, 8.43 per epoch" in done.stdout
    assert "multiply-adds" in done.stdout
    assert "checkpoint" in done.stdout
    assert not (tmp_path / "run").exists()


def test_rejects_an_unknown_recipe():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        config.load("digitz")


@pytest.mark.slow
def test_command_rejects_an_unknown_recipe():
    done = run("--config=digitz", "--workdir=unused")
    assert done.returncode == 2
    assert "Did you mean 'digits'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), 74),
        (OSError(5, "Input/output error"), 74),
        (OSError(30, "Read-only file system"), 74),
        (OSError(116, "Stale file handle"), 74),
        (NotADirectoryError(20, "`workdir` must be a folder"), 2),
        (FileExistsError(17, "File exists", "run"), 2),
        (IsADirectoryError(21, "Is a directory", "run/.lock"), 2),
        (PermissionError(13, "Permission denied", "run"), 2),
        (FileNotFoundError(2, "No such file or directory", "run"), 2),
        (tf.errors.UnknownError(None, None, "{{node f}} bad\n\t [[{{node f}}]]"), 1),
        (ValueError("`epochs` must be \x1b[2J"), 2),
        (FloatingPointError("The loss must stay finite"), 1),
        (FileNotFoundError("`weights` must be the path of a file"), 2),
        (ImportError("tensorflow_datasets must be installed"), 2),
    ],
)
def test_exit_code_shows_whether_a_restart_helps(monkeypatch, error, code, capsys):
    def fail(*_):
        raise error

    holder = flags.FlagValues()
    argv = main.define_flags(holder, ["main", "--config=digits", "--workdir=unused"])
    flags.DEFINE_integer("verbosity", 0, "", flag_values=holder)
    holder(argv)
    monkeypatch.setattr(main.flags, "FLAGS", holder)
    monkeypatch.setattr(main.trainer, "train", fail)
    with pytest.raises(SystemExit) as end:
        main._main(["main"])
    assert end.value.code == code
    text = capsys.readouterr().err
    assert text.startswith("Error: ")
    assert text.count("\n") == 1
    assert "{{" not in text
    assert "\x1b" not in text


def test_rejects_a_workdir_that_is_not_a_folder(tmp_path, capsys):
    file, run_folder = tmp_path / "file", tmp_path / "run"
    file.write_text("mine")
    (run_folder / ".lock").mkdir(parents=True)
    for workdir in (file, file / "below", run_folder):
        with (
            pytest.raises(OSError, match=str(workdir)) as caught,
            files.lock(workdir / ".lock"),
        ):
            pytest.fail("the block must not begin")
        assert exit_codes.exit_code(caught.value) == exit_codes.ExitCode.WRONG_INPUT
        with pytest.raises(SystemExit):
            exit_codes.end_with(caught.value)
        assert str(workdir) in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_plan_of_an_invalid_config_names_the_field():
    bad = dataclasses.replace(config.load("digits"), epochs=0)
    with pytest.raises(ValueError, match="`epochs`"):
        dry_run.describe_run(bad)
