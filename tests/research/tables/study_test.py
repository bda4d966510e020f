"""Printed and computed numbers, against the paper's tables and hand arithmetic."""

import keras
import pytest

from research.tables import study

TINY = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 2)])


@pytest.fixture
def quick(monkeypatch):
    """Replaces the baselines by a small model; records each build."""
    built = []

    def build(scaling):
        built.append(scaling)
        return TINY

    monkeypatch.setattr(study, "_BUILDERS", dict.fromkeys(study._BUILDERS, build))
    return built


def test_difference_and_rounding_equal_hand_calculation():
    found = study.compare(2, "m", study.PARAMETERS, "26", 25.6)
    assert found.difference == pytest.approx(-0.4 / 26)
    assert found.rounding == pytest.approx(0.5 / 26)
    assert found.is_explained_by_rounding
    assert not study.compare(2, "m", "q", "16.2", 16.26).is_explained_by_rounding


def test_compares_every_number_once(quick, tmp_path):
    study.run(study.TablesOptions(), tmp_path)
    assert len(quick) == 2 + 14  # ResNets of Table 2, rows of Table 3
    lines = (tmp_path / "results.csv").read_text().splitlines()[1:]
    by_table = [sum(line.startswith(f"{n},") for line in lines) for n in (1, 2, 3, 7)]
    assert by_table == [9 * 3, 10 * 2, 14, 5]
    report = (tmp_path / "report.md").read_text()
    assert "All 27 numbers are equal." in report
    assert (
        "| EfficientNetB7 | parameters, M | 66 | 66.35 | +0.5% | 0.8% | yes |" in report
    )
    assert "| EfficientNetB5 | multiply-adds, G | 9.9 | 10.27 | +3.7% |" in report
    for name in ("figure1.png", "figure5.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in report


def test_resumes_where_it_was_interrupted(quick, tmp_path, monkeypatch):
    rows = list(study._all_rows())
    monkeypatch.setattr(study, "_all_rows", lambda: iter(rows[:18]))  # one ResNet
    study.run(study.TablesOptions(), tmp_path)
    assert len(quick) == 1
    monkeypatch.setattr(study, "_all_rows", lambda: iter(rows))
    study.run(study.TablesOptions(), tmp_path)
    assert len(quick) == 16


@pytest.mark.slow
def test_scaled_baselines_agree_with_table_3(tmp_path):
    """All but two numbers agree within 10%, and those two within 11%."""
    study.run(study.TablesOptions(), tmp_path)
    found = {
        float(line.split(",")[-2])
        for line in (tmp_path / "results.csv").read_text().splitlines()[1:]
        if line.startswith("3,")
    }
    beyond = [difference for difference in found if abs(difference) > 0.1]
    assert len(beyond) == 2
    assert max(map(abs, beyond)) < 0.11
