import re

import pytest
from absl import flags

from keras_efficientnet.common.cli import exit_codes
from keras_efficientnet.common.cli.exit_codes import ExitCode
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), ExitCode.WRONG_INPUT),
        (ImportError("x"), ExitCode.WRONG_INPUT),
        (FileNotFoundError("x"), ExitCode.WRONG_INPUT),
        (PermissionError(13, "x"), ExitCode.WRONG_INPUT),
        (OSError(28, "No space left on device"), ExitCode.CANNOT_WRITE),
        (FloatingPointError("x"), ExitCode.FAILURE),
        (RuntimeError("x"), ExitCode.FAILURE),
    ],
)
def test_exit_code_of_an_error(error, code):
    assert exit_codes.exit_code(error) == code


def test_invalid_flags_exit_with_wrong_input(monkeypatch, capsys):
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    with pytest.raises(SystemExit) as end:
        exit_codes.run_app(lambda argv: 0, ["command", "--no_such_flag=1"])
    assert end.value.code == ExitCode.WRONG_INPUT
    assert "no_such_flag" in capsys.readouterr().err


def test_docs_list_every_exit_code():
    text = (ROOT / "docs" / "training.md").read_text()
    listed = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert [int(code) for code in listed] == [code.value for code in ExitCode]
