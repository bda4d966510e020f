"""Help of the commands, as processes: in the checkout and as a wheel installs them."""

import dataclasses
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from training import config
from training.config import help as config_help

CLEAN = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder whose package holds the programs, as in a wheel."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "keras_efficientnet"
    package.mkdir()
    programs = [ROOT / name for name in ("training", "export", "research")]
    for path in [*(ROOT / "keras_efficientnet").iterdir(), *programs]:
        (package / path.name).symlink_to(path)
    return folder


def run(command, **variables):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=CLEAN | {"COLUMNS": "88"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # TensorFlow's start-up lines do not appear
    return done.stdout


def test_help_of_training_lists_flags_recipes_and_fields():
    text = run(["-m", "training.main", "--help"])
    for flag in ("--workdir", "--[no]dry_run", "--replicas", "--[no]list_recipes"):
        assert f"  {flag}\n" in text
    for path in config.recipe_files():
        assert f"  {path.stem}\n" in text
    for field in dataclasses.fields(config.TrainConfig):
        assert f"  --config.{field.name}\n" in text
    assert "TrainConfig(" not in text
    assert "Images per step, over all replicas. Default: 256.\n" in text
    # The choices of `config.checks`, which the docstring does not repeat.
    assert "Choices: rmsprop, sgd, adamw, lamb, lars." in " ".join(text.split())


@pytest.mark.parametrize(
    ("command", "function", "flag"),
    [
        ("efficientnet-train", "train", "--workdir"),
        ("efficientnet-evaluate", "evaluate", "--split"),
        ("efficientnet-pseudo-label", "pseudo_label", "--teacher"),
        ("efficientnet-prepare", "prepare", "--train_tar"),
        ("efficientnet-inspect-data", "inspect_data", "--output_dir"),
        ("efficientnet-export", "export", "--formats"),
        ("efficientnet-predict", "predict", "--top"),
    ],
)
@pytest.mark.slow  # contracts_test.py calls the functions of the installed commands
def test_help_of_installed_commands_lists_their_flags(
    installed, command, function, flag
):
    script = installed / command
    script.write_text(
        f"from keras_efficientnet._commands import {function}\n{function}()\n"
    )
    text = run([script, "--help"], PYTHONPATH=str(installed))
    assert f"  {flag}\n" in text
    assert f"\n{command} " in text
    assert "python -m" not in text.split("Flags:")[0].replace(
        "python -m training.main", ""
    )


def test_every_field_has_a_meaning():
    meanings = config_help.field_meanings()
    fields = [field.name for field in dataclasses.fields(config.TrainConfig)]
    assert list(meanings) == fields
    assert all(meaning.endswith(".") for meaning in meanings.values())


def test_recipes_are_listed_with_their_first_line():
    text = config_help.describe_recipes()
    assert "  digits\n      The quickstart: handwritten digits" in text
    assert "__init__" not in text
