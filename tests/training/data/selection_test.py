import numpy as np
import pytest

from training.data import selection
from training.data.selection import ImageSelection


def choose_by_sorting(answers, confidence, min_confidence, per_class):
    """The rule of arXiv:1911.04252, section 3.1, class by class."""
    members = {
        label: sorted(
            (
                i
                for i in range(len(answers))
                if answers[i] == label and confidence[i] > min_confidence
            ),
            key=lambda i: (-confidence[i], i),
        )[:per_class]
        for label in range(max(answers) + 1)
    }
    target = max(map(len, members.values()))
    return [
        found[i % len(found)]
        for found in members.values()
        if found
        for i in range(target)
    ]


@pytest.mark.parametrize("per_class", [1, 3, 20, 1000])
@pytest.mark.parametrize("batch", [1, 7, 500])
def test_batches_give_the_choice_of_a_single_sort(monkeypatch, per_class, batch):
    monkeypatch.setattr(selection, "_LEAST_WAITING", 10)
    random = np.random.default_rng(0)
    answers = random.choice(6, 500, p=[0.5, 0.3, 0.1, 0.06, 0.04, 0])
    confidence = random.integers(1, 40, 500).astype(np.float32) / 40  # with ties
    found = ImageSelection(0.3, per_class)
    for start in range(0, 500, batch):
        part = slice(start, start + batch)
        found.add(answers[part], confidence[part])
    expected = choose_by_sorting(answers, confidence, 0.3, per_class)
    kept, rows = found.chosen()
    assert kept[rows].tolist() == expected
    assert kept.tolist() == sorted(set(expected))
    assert found.highest == confidence.max()


def test_keeps_no_more_candidates_than_it_may_need(monkeypatch):
    monkeypatch.setattr(selection, "_LEAST_WAITING", 100)
    found = ImageSelection(0.0, 5)
    random = np.random.default_rng(0)
    for _ in range(100):
        found.add(random.integers(0, 3, 50), random.random(50))
        assert sum(len(part[0]) for part in found._parts) <= 3 * 5 + 150


def test_nothing_is_chosen_without_images():
    assert [len(found) for found in ImageSelection(0.3, 5).chosen()] == [0, 0]
