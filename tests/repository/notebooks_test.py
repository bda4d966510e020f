"""Notebooks in examples/: their cells run, and print the output that is stored."""

import json
import shutil

import pytest

from tests.support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
# Cells with this tag print scores or times, which differ between machines.
VARIES = "output-varies"


def test_notebooks_cover_prediction_and_training():
    assert [path.stem for path in NOTEBOOKS] == ["classify", "fine_tune"]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            marks=pytest.mark.slow if path.stem == "fine_tune" else (),
            id=path.stem,
        )
        for path in NOTEBOOKS
    ],
)
def test_cells_print_their_stored_output(path, tmp_path, monkeypatch, capsys):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    shutil.copytree(ROOT / "examples" / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    names = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    for number, cell in enumerate(cells, start=1):
        assert cell["execution_count"] == number
        exec(compile("".join(cell["source"]), f"{path.name}[{number}]", "exec"), names)
        printed = capsys.readouterr().out
        stored = [out for out in cell["outputs"] if out["output_type"] == "stream"]
        if VARIES in cell["metadata"].get("tags", []):
            assert bool(printed) == bool(stored)
        else:
            assert printed == "".join(line for out in stored for line in out["text"])
