"""Command line and output folder of the studies."""

import dataclasses
import json
import types

import pytest

from research import main, options, studies
from research.reporting.folder import ResultsTable, open_folder


@dataclasses.dataclass(frozen=True)
class Options:
    seeds: tuple[int, ...] = options.option((0, 1), "Seeds.")
    widths: tuple[float, ...] = options.option((1.0,), "Widths.")
    data: str = options.option("digits", "Source of images.")
    steps: int = options.option(3, "Steps of each trial.")
    draws: bool = options.option(True, "Whether to draw.")
    processes: int = options.option(1, "Parallel trainings.", is_setting=False)


@dataclasses.dataclass(frozen=True)
class Trial:
    name: str
    width: float
    seed: int
    good: bool
    top1: float | None


@pytest.fixture
def study(monkeypatch):
    """A study that records its arguments."""
    calls = []
    module = types.SimpleNamespace(
        OPTIONS=Options, run=lambda *arguments: calls.append(arguments)
    )
    monkeypatch.setattr(studies.Study, "load", lambda self: module)
    monkeypatch.setitem(studies.STUDIES, "trial", studies.Study("About it.", ""))
    return calls


def test_parses_options_from_flags(study, tmp_path):
    flags = ["--seeds=4,5", "--widths=1.5", "--nodraws", "--steps=7"]
    assert main.main(["trial", f"--output_dir={tmp_path}", *flags]) == 0
    wanted = Options(seeds=(4, 5), widths=(1.5,), draws=False, steps=7)
    assert study == [(wanted, tmp_path)]


def test_help_lists_studies_and_their_options(study, capsys):
    assert main.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in studies.STUDIES)
    assert main.main(["trial", "--help"]) == 0
    assert "--seeds\n      Seeds. Default: 0,1." in capsys.readouterr().out
    assert study == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: "),
        (["trail", "--output_dir=x"], "Did you mean 'trial'? Received: 'trail'"),
        (["trial"], "--output_dir=DIR must be given"),
        (
            ["trial", "--output_dir=x", "more"],
            "must be flags, --NAME=VALUE. Received: more",
        ),
        (["trial", "--output_dir=x", "--proceses=1"], "Did you mean: processes"),
        (["trial", "--output_dir=x", "--seeds=a"], "`seeds` must be a list like 1,2,3"),
    ],
)
def test_rejects_invalid_command_lines(study, capsys, arguments, message):
    assert main.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert study == []


def test_names_the_extras_of_a_missing_package(monkeypatch, capsys):
    def load(study):
        raise ModuleNotFoundError("No module named 'optuna'", name="optuna")

    monkeypatch.setattr(studies.Study, "load", load)
    with pytest.raises(SystemExit) as end:
        main.main(["nas", "--help"])
    assert end.value.code == 2
    assert "optuna must be installed: pip install 'efficientnet-keras[" in (
        capsys.readouterr().err
    )


def test_every_study_defines_options_and_run():
    for study in studies.STUDIES.values():
        module = study.load()
        assert options.settings(module.OPTIONS()) is not None
        assert callable(module.run)


def test_rejects_a_folder_with_other_settings(tmp_path):
    with open_folder(tmp_path / "new", "trial", Options()):
        pass
    with open_folder(tmp_path / "new", "trial", Options(processes=9)) as folder:
        assert json.loads(folder.settings.read_text())["seeds"] == [0, 1]
    with (
        pytest.raises(ValueError, match=r"seeds: \[0, 1\] -> \[2\]; steps: 3 -> 4$"),
        open_folder(tmp_path / "new", "trial", Options(seeds=(2,), steps=4)),
    ):
        pass


def test_rejects_a_folder_that_is_in_use(tmp_path):
    with (
        open_folder(tmp_path, "trial", Options()),
        pytest.raises(ValueError, match="`output_dir` must not be in use"),
        open_folder(tmp_path, "trial", Options()),
    ):
        pass


def test_rows_survive_writing_and_reading(tmp_path):
    path = tmp_path / "results.csv"
    rows = ResultsTable(path, Trial, ("width", "seed"))
    first = Trial("a, b", 0.1 + 0.2, 0, True, None)
    second = Trial("", 1.0, 1, False, 0.5)
    for row in (first, second):
        rows.add(row)
    again = ResultsTable(path, Trial, ("width", "seed"))
    assert again.rows == [first, second]
    assert again.find(width=0.1 + 0.2, seed=0) == first
    assert again.find(width=0.3, seed=0) is None
    better = dataclasses.replace(second, top1=0.75)
    again.add(better)
    assert ResultsTable(path, Trial, ("width", "seed")).rows == [first, better]
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_rejects_a_results_file_with_other_columns(tmp_path):
    (tmp_path / "results.csv").write_text("name,width\na,1.0\n")
    with pytest.raises(ValueError, match="columns name, width, seed, good, top1"):
        ResultsTable(tmp_path / "results.csv", Trial, ("width",))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("It failed"), 1, "Error: It failed"),
        (FloatingPointError("The loss"), 1, "Error: The loss"),
        (KeyboardInterrupt(), 75, "Stopped. Run the same command again to resume."),
    ],
)
def test_exit_code_of_a_failed_study(
    error, code, message, study, tmp_path, capsys, monkeypatch
):
    def run(*arguments):
        raise error

    module = types.SimpleNamespace(OPTIONS=Options, run=run)
    monkeypatch.setattr(studies.Study, "load", lambda self: module)
    assert main.main(["trial", f"--output_dir={tmp_path}"]) == code
    assert message in capsys.readouterr().err
