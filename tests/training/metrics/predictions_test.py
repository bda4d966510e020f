import csv
import dataclasses

import numpy as np
import pytest

from keras_efficientnet.preprocessing import imagenet_classes
from training.metrics import predictions

WNIDS = [wnid for wnid, _ in imagenet_classes()]


def answers_to(labels, answers):
    """Predictions whose first answer is given, and the classes after it."""
    labels = np.asarray(labels, np.int32)
    answers = (np.asarray(answers)[:, None] + np.arange(3)) % 4
    probabilities = np.tile(np.float32([0.5, 0.25, 0.125]), (len(labels), 1))
    names = [f"{i}.png" for i in range(len(labels))]
    return predictions.Predictions(names, labels, answers, probabilities, labels * 0.0)


def test_per_class_table_matches_hand_computation():
    found = answers_to([0, 0, 0, 0, 2, 2], [0, 1, 1, 3, 2, 2])
    first, second = predictions.per_class_scores(found, "abcd")
    assert first == {
        "class": "a",
        "images": 4,
        "top1": 0.25,
        # Predictions 1, 2, 3 miss class 0; 3, 0, 1 contain it.
        "top5": 0.5,
        "most_confused_with": "b",
        "times": 2,
    }
    assert (second["class"], second["top1"], second["times"]) == ("c", 1.0, 0)
    assert second["most_confused_with"] == ""


def test_predictions_without_labels_leave_the_cell_empty(tmp_path):
    unknown = predictions.UNKNOWN
    found = answers_to([unknown, unknown], [1, 3])
    path = tmp_path / "predictions.csv"
    predictions.write_predictions(found, ["a", "b,c", "d", "e"], path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:4] == ["name", "label", "class_1", "probability_1"]
    assert rows[1] == ["0.png", "", "b,c", "0.5", "d", "0.25", "e", "0.125"]


def test_names_and_classes_are_escaped_for_spreadsheets(tmp_path):
    found = answers_to([0, 1], [1, 1])
    found = dataclasses.replace(found, names=["=1+1", "-2.5"])
    predictions.write_predictions(found, ["@a", "+b", "c", "d", "e"], tmp_path / "p")
    predictions.write_per_class(found, ["@a", "+b", "c", "d", "e"], tmp_path / "c")
    for path in (tmp_path / "p", tmp_path / "c"):
        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        bad = [cell for cell in cells if cell[:1] in set("=+@")]
        assert bad == []
        assert "'@a" in cells
        assert "'+b" in cells


def test_ilsvrc_numbers_are_read_with_and_without_numbers(tmp_path):
    path = tmp_path / "ids.txt"
    order = WNIDS[::-1]
    path.write_text("\n".join(order))
    plain = predictions.read_ilsvrc_ids(path)
    lines = [f"{wnid} {i} some_name" for i, wnid in enumerate(order, start=1)]
    path.write_text("\n".join(lines))
    assert predictions.read_ilsvrc_ids(path) == plain
    assert (plain[order[0]], plain[order[-1]]) == (1, 1000)


def test_rejects_invalid_ilsvrc_numbers(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(WNIDS[:999]))
    with pytest.raises(ValueError, match="1000 classes, .* Received: 999 lines"):
        predictions.read_ilsvrc_ids(path)
    swapped = [f"{wnid} {i}" for i, wnid in enumerate(WNIDS)]
    path.write_text("\n".join(swapped))
    with pytest.raises(ValueError, match="line 1: n01440764 0"):
        predictions.read_ilsvrc_ids(path)


def test_server_file_is_for_imagenet_only(tmp_path):
    path = tmp_path / "server.txt"
    with pytest.raises(ValueError, match="must have ImageNet's 1000 classes"):
        predictions.write_server_file(answers_to([0], [0]), ["a", "b"], {}, path)
    assert not path.exists()
