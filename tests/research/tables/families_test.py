"""Accuracy and cost of the families, against their authors' tables."""

import pytest

from research.reporting.folder import StudyFolder
from research.tables import families, study


@pytest.fixture
def clock(monkeypatch):
    """Replaces measurements by one millisecond per layer; records the networks."""
    timed = []

    def measure(variant):
        timed.append(variant)
        return float(len(timed))

    monkeypatch.setattr(families, "tflite_latency", measure)
    return timed


def table(folder):
    return StudyFolder(folder).rows(families.FamilyMember, ("model",), "families")


# Top-1 percent and multiply-adds, G. Source: tensorflow/tpu, efficientnet/README.md,
# lite/README.md and edgetpu/README.md; google/automl, efficientnetv2/README.md.
@pytest.mark.parametrize(
    ("model", "top1", "multiply_adds"),
    [
        ("EfficientNetB0", 77.1, 0.39),
        ("EfficientNetLite4", 81.5, 2.6),
        ("EfficientNetV2B0", 78.7, 0.72),
        ("EfficientNetV2L", 85.7, 56.3),
        ("EfficientNetEdgeTPUM", 78.69, 3.0),
    ],
)
def test_networks_have_the_figures_of_their_authors(
    tmp_path, model, top1, multiply_adds
):
    rows = table(tmp_path)
    families.add_members(rows, ())
    row = rows.find(model=model)
    assert row.top1 == top1
    assert row.multiply_adds_G == pytest.approx(multiply_adds, rel=0.025)
    assert row.latency_ms is None


def test_only_chosen_networks_are_measured_once(tmp_path, clock):
    for _ in range(2):
        rows = table(tmp_path)
        families.add_members(rows, ("EfficientNetV2S",))
        assert len(clock) == 1
        assert [row.model for row in rows.rows if row.latency_ms] == ["EfficientNetV2S"]
    families.add_members(rows, ("all",))
    assert len(clock) == len(families.NETWORKS) == 23


def test_a_picture_is_drawn_for_what_is_known(tmp_path, clock):
    rows = table(tmp_path)
    families.add_members(rows, ())
    assert [*families.draw(rows.rows, tmp_path)] == [families.MULTIPLY_ADDS_PICTURE]
    families.add_members(rows, ("EfficientNetB0", "EfficientNetEdgeTPUS"))
    drawn = families.draw(rows.rows, tmp_path)
    assert [*drawn] == [families.MULTIPLY_ADDS_PICTURE, families.LATENCY_PICTURE]
    for name in drawn:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    text = "\n".join(families.section(rows.rows))
    assert "| EfficientNetB0 | 224 | 77.1 | 5.3 | 0.39 | 1.0 |" in text
    assert "| EfficientNetB1 | 240 | 79.1 | 7.8 | 0.69 |  |" in text


def test_unknown_networks_are_rejected(tmp_path):
    options = study.TablesOptions(measure=("EfficientNetV2XS",))
    with pytest.raises(ValueError, match="`measure` must .*Did you mean"):
        study.run(options, tmp_path)
