"""Validation against test accuracy, with answers in the development kit's form."""

import csv
import json

import numpy as np
import pytest

from research import main
from research.server import answers, study

# Source: ILSVRC2012_devkit_t12/readme.txt, output of demo_eval.
DEMO = """Task 1: # guesses  vs flat error
    1.0000    0.9990
    2.0000    0.9980
    3.0000    0.9972
    4.0000    0.9962
    5.0000    0.9950

Task 2: # guesses  vs flat error
    1.0000    1.0000
    2.0000    0.9999
    3.0000    0.9998
    4.0000    0.9997
    5.0000    0.9996
"""
# Source: readme.txt of the kit of 2015, output of demo_eval_clsloc.
DEMO_2015 = """# guesses vs clsloc error vs cls-only error
    1.0000    1.0000    0.9992
    2.0000    0.9999    0.9982
    3.0000    0.9998    0.9971
    4.0000    0.9997    0.9962
    5.0000    0.9996    0.9955
"""


def run(folder, *flags):
    return main.main(["server", f"--output_dir={folder}", *flags])


def read(folder):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return {(row["model"], row["source"]): row for row in csv.DictReader(file)}


def scores(folder, top1=0.7, top5=0.9, images=50_000):
    path = folder / "scores.json"
    path.write_text(json.dumps({"images": images, "top1": top1, "top5": top5}))
    return path


@pytest.mark.parametrize(
    ("text", "top1", "top5"),
    [
        (DEMO, 0.0010, 0.0050),
        (DEMO_2015, 0.0008, 0.0045),
        (f"Your file was scored.\n{DEMO}Good luck!", 0.0010, 0.0050),
    ],
)
def test_parses_the_errors_of_the_development_kit(text, top1, top5):
    found = answers.parse_answer(text)
    assert (found.top1, found.top5) == (top1, top5)


@pytest.mark.parametrize(
    "text",
    ["", "top-1 77.2%", "1.0000 0.2000", "1 0.2000\n5 0.3000", "1 1.2000\n5 0.3000"],
)
def test_rejects_other_answers(text):
    with pytest.raises(ValueError, match="for 1 and 5 guesses. Received: "):
        answers.parse_answer(text)


def test_scores_a_submission_as_the_development_kit_does(tmp_path):
    """By hand: one right at once, one within five guesses, one with two guesses."""
    path = tmp_path / "labels.txt"
    path.write_text("5 1 2 3 4\n5 1 2 3 4\n5 6\n5 1 2 3 4\n")
    labels = answers.read_submission(path, 4)
    found = answers.score(labels, np.array([5, 4, 6, 1000]))
    assert (found.top1, found.top5) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3 4 5\n", "one line per image, 2 lines. Received: 1 lines"),
        ("1 2 3 4 5\n0 1 2 3 4\n", "from 1 to 1000. Received: '0 1 2 3 4' in line 2"),
        ("1 2 3 4 5\n1 1 2 3 4\n", "Received: '1 1 2 3 4' in line 2"),
        ("1 2 3 4 5 6\n1\n", "at most 5 different labels"),
        ("1 2 3 4 5\n\n", "Received: '' in line 2"),
        ("1 2 3 4 5\n1.0 2\n", "Received: '1.0 2' in line 2"),
    ],
)
def test_rejects_malformed_submissions(text, message, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        answers.read_submission(path, 2)


def test_interval_of_the_difference_equals_hand_calculation():
    """0.77 and 0.78: 1.96 * sqrt(0.1771 / 50,000 + 0.1716 / 100,000) = 0.004496."""
    value, half = study.difference(77, 78)
    assert (value, half) == (1, pytest.approx(0.4495, abs=1e-3))


def test_prints_the_paper_without_any_file(tmp_path):
    """Source: Table 8: B0 77.11 and 77.23; the largest difference is 0.13, of B3."""
    assert run(tmp_path) == 0
    row = read(tmp_path)["EfficientNetB0", "paper"]
    assert (float(row["val_top1"]), float(row["test_top1"])) == (77.11, 77.23)
    report = (tmp_path / "report.md").read_text()
    assert (
        "| EfficientNetB3 | paper | 81.59 | 81.72 | 95.67 | 95.70 | +0.13 ±" in report
    )
    assert "0 of the 16 differences are beyond their interval" in report
    assert (tmp_path / "server.png").read_bytes()[:4] == b"\x89PNG"


def test_adds_measured_networks_as_their_answers_arrive(tmp_path):
    flag = f"--validation=mine={scores(tmp_path, 0.002, 0.006)}"
    assert run(tmp_path / "study", flag) == 0
    assert read(tmp_path / "study")["mine", "here"]["test_top1"] == ""
    answer = tmp_path / "answer.txt"
    answer.write_text(DEMO)
    assert run(tmp_path / "study", flag, f"--test=mine={answer}") == 0
    row = read(tmp_path / "study")["mine", "here"]
    assert float(row["test_top1"]) == pytest.approx(0.1)
    report = (tmp_path / "study" / "report.md").read_text()
    assert (
        "| mine | here | 0.20 | 0.10 | 0.60 | 0.50 | -0.10 ± 0.04 | -0.10 ±" in report
    )


def test_scores_a_file_of_the_validation_images(tmp_path, monkeypatch):
    truth = tmp_path / "truth.txt"
    truth.write_text("7\n8\n" * 25_000)
    labels = tmp_path / "labels.txt"
    labels.write_text("7 1 2 3 4\n1 2 3 4 5\n" * 25_000)
    flags = f"--validation=mine={labels}", f"--ground_truth={truth}"
    assert run(tmp_path / "study", *flags) == 0
    assert float(read(tmp_path / "study")["mine", "here"]["val_top1"]) == 50


def test_checks_the_file_for_the_server(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("1000 2 3 4 5\n" * 100_000)
    assert run(tmp_path / "study", f"--submissions={path}") == 0
    report = (tmp_path / "study" / "report.md").read_text()
    assert "100,000 lines, 500,000 labels" in report


def test_rejects_bad_options(tmp_path, capsys):
    some, few = scores(tmp_path), tmp_path / "few"
    few.mkdir()
    labels, answer = tmp_path / "labels.txt", tmp_path / "answer.txt"
    labels.write_text("1\n")
    answer.write_text(DEMO)
    for flags, message in [
        (["--validation=mine"], "NAME=FILE, each name once. Received: 'mine'"),
        ([f"--validation=a={some},a={some}"], "each name once"),
        ([f"--validation=a={scores(few, images=500)}"], "all 50,000 images"),
        ([f"--validation=a={labels}"], "`ground_truth` must be given"),
        (
            [f"--validation=a={labels}", f"--ground_truth={some}"],
            "must have 50,000 labels from 1 to 1000, one per line",
        ),
        ([f"--validation=a={some}", f"--test=b={answer}"], "`test` must have names"),
        ([f"--validation=a={some}", f"--test=a={some}"], "scores.json: An answer must"),
        ([f"--submissions={labels}"], "one line per image, 100,000 lines"),
    ]:
        assert run(tmp_path / "new", *flags) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
