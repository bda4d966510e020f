import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from export import verify
from export.formats.registry import FORMATS
from export.runtimes.base import KerasRunner
from export.verify import Comparison, Reference
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.split_folders import open_image_folder
from keras_efficientnet.preprocessing import EvalPreprocessing
from tests.support import export_run

SPEC = EvalPreprocessing(32, 8)
GOOD = Comparison(100, 1e-6, 1.0, 1.0, (), (), 0.9, 0.9)


class Table:
    """Answers with prepared probabilities."""

    input_shape = (32, 32, 3)
    classes = 2

    def __init__(self, rows):
        self.rows = np.array(rows, np.float32)

    def __call__(self, batch):
        return self.rows[: len(batch)]


def compare(keras_rows, rows, labels=None, format_name="tflite_int8"):
    folder = export_run.run_folder() / "samples" / "verification"
    paths = tuple(map(Path, list_images(folder)))[: len(rows)]
    row = dataclasses.replace(FORMATS[format_name], runner=lambda path: Table(rows))
    labels = None if labels is None else np.array(labels)
    reference = Reference(paths, np.array(keras_rows, np.float32), labels)
    return verify.compare(row, Path("unused"), reference, SPEC)


def test_counts_agreement_and_right_answers():
    found = compare(
        [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]],
        [[0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]],
        labels=[0, 0, 1, 1],
    )
    assert found.images == 4
    assert found.max_difference == pytest.approx(0.4)
    assert found.agreement == 0.75
    assert found.disagreements == (1,)
    assert found.predictions == (0, 1, 1, 0)
    assert (found.keras_top1, found.top1) == (0.75, 0.5)


def test_five_first_classes_are_compared_as_sets():
    keras_rows = [[0.3, 0.2, 0.15, 0.12, 0.11, 0.07, 0.05], [0.4, 0.1] + 5 * [0.1]]
    rows = [[0.1, 0.2, 0.05, 0.12, 0.03, 0.3, 0.2], [0.4, 0.1] + 5 * [0.1]]
    # By hand: of 0 to 4 the first keeps 0, 1 and 3; the second all.
    assert compare(keras_rows, rows).top5_agreement == pytest.approx((3 / 5 + 1) / 2)
    assert compare([[0.9, 0.1]], [[0.2, 0.8]]).top5_agreement == 1


def test_unlabelled_images_have_no_top1():
    found = compare([[0.9, 0.1]], [[0.8, 0.2]])
    assert found.top1 is found.keras_top1 is None


@pytest.mark.parametrize(("format_name", "share"), [("tflite", 1), ("tflite_int8", 0)])
def test_only_exact_formats_may_take_either_of_a_near_tie(format_name, share):
    found = compare([[0.50005, 0.49995]], [[0.49999, 0.50001]], None, format_name)
    assert found.agreement == share


@pytest.mark.parametrize("name", FORMATS)
def test_good_comparison_has_no_problem(name):
    assert verify.find_problems(GOOD, FORMATS[name]) == []


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_difference_over_the_limit_is_a_problem(difference):
    found = dataclasses.replace(GOOD, max_difference=difference)
    (problem,) = verify.find_problems(found, FORMATS["tflite"])
    assert problem.startswith("probabilities differ by ")
    assert problem.endswith("must be at most 1e-04")


@pytest.mark.parametrize(
    ("number", "total", "is_good"),
    [(3, 100, True), (4, 100, False), (1, 24, True), (2, 24, False), (1, 16, False)],
)
def test_three_percent_may_disagree_in_whole_images(number, total, is_good):
    found = dataclasses.replace(GOOD, images=total, disagreements=tuple(range(number)))
    problems = verify.find_problems(found, FORMATS["tflite_int8"])
    assert (problems == []) == is_good
    if not is_good:
        assert f"not Keras' on {number} of {total} images" in problems[0]


@pytest.mark.parametrize(
    ("top1", "is_good"), [(0.91, True), (0.89, True), (0.88, False)]
)
def test_top1_may_fall_by_one_point(top1, is_good):
    found = dataclasses.replace(GOOD, top1=top1)
    problems = verify.find_problems(found, FORMATS["tflite_int8"])
    assert (problems == []) == is_good
    if not is_good:
        assert problems == [
            "top-1 falls from 90.0% to 88.0%, by 2 of 100 images, may fall by 1 (1%)"
        ]


def test_outputs_that_are_no_probabilities_are_refused():
    inputs = keras.Input((32, 32, 3))
    logits = keras.layers.GlobalAveragePooling2D()(inputs)
    runner = KerasRunner(keras.Model(inputs, logits))
    folder = export_run.run_folder() / "samples" / "verification" / "sky"
    with pytest.raises(ValueError, match="class probabilities, which sum to 1"):
        verify.ask_keras(runner, open_image_folder(folder), "abc", SPEC)
