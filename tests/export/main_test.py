import subprocess
import sys

import pytest
from absl import flags

from export import api, main
from export.verify import VerificationError
from tests.support import export_run


def run(*arguments):
    values = flags.FlagValues()
    main.define_flags(values)
    return main.main(values(["main", *arguments]), values)


def recorder(monkeypatch, error=None):
    calls = []

    def export_model(model, formats, **options):
        calls.append((model, formats, options))
        if error:
            raise error

    monkeypatch.setattr(api, "export_model", export_model)
    return calls


def test_flags_are_passed_to_the_python_function(monkeypatch):
    calls = recorder(monkeypatch)
    code = run(
        "--model=EfficientNetB0",
        "--weights=autoaugment",
        "--labels=names.txt",
        "--formats=tflite,saved_model",
        "--calibration=c",
        "--calibration_images=7",
        "--verify=v",
        "--output_dir=o",
        "--image_size=64",
        "--crop_ratio=1",
        "--interpolation=bilinear",
        "--crop_mode=squash",
        "--title=Birds",
        "--thresholds=a=0.3",
        "--unknown=u",
        "--saved_model_version=3",
    )
    assert code == 0
    options = {
        "weights": "autoaugment",
        "labels": "names.txt",
        "calibration": "c",
        "calibration_images": 7,
        "verify": "v",
        "output_dir": "o",
        "image_size": 64,
        "crop_ratio": 1.0,
        "interpolation": "bilinear",
        "crop_mode": "squash",
        "title": "Birds",
        "calibrate": True,
        "reject_precision": None,
        "thresholds": "a=0.3",
        "unknown": "u",
        "saved_model_version": 3,
    }
    assert calls == [("EfficientNetB0", ["tflite", "saved_model"], options)]


def test_all_formats_are_the_default(monkeypatch):
    calls = recorder(monkeypatch)
    run("--model=x")
    assert calls[0][1] == ["saved_model", "tflite", "tflite_int8"]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (VerificationError("int8: bad"), 1, "Failed: int8: bad\n"),
        (ValueError("`verify` must"), 2, "Error: `verify` must\n"),
    ],
)
def test_exit_code_distinguishes_failed_artefacts_from_wrong_input(
    monkeypatch, capsys, error, code, text
):
    recorder(monkeypatch, error)
    assert run("--model=x") == code
    assert capsys.readouterr().err == text


def test_rejects_a_stray_argument(capsys):
    assert run("--model=x", "stray") == 2
    assert "all arguments must be flags. Received: stray" in capsys.readouterr().err


@pytest.mark.slow  # the others of this file run the command in this process
def test_command_errors_are_one_line():
    command = [sys.executable, "-m", "export.main", "--formats=tflite"]
    done = subprocess.run(
        [*command, f"--model={export_run.run_folder()}", "--verify=nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    # On some processors TensorFlow logs at start-up whatever the log level.
    (*logs, error) = done.stderr.splitlines()
    assert error.startswith("Error: A folder of images must exist. ")
    assert error.endswith("Received: nowhere")
    assert all("::" in line or "port.cc" in line for line in logs)
