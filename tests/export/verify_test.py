import dataclasses
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from export import verify
from export.formats.registry import FORMATS
from export.runtimes.base import KerasRunner
from export.verify import Comparison, Reference
from keras_efficientnet.common.image_folders import list_images
from keras_efficientnet.common.sidecars import Sidecars
from keras_efficientnet.common.split_folders import open_image_folder
from keras_efficientnet.preprocessing import EvalPreprocessing
from tests.support import export_run

SPEC = EvalPreprocessing(32, 0.8)
GOOD = Comparison(100, 4, 1e-6, 1.0, 1.0, (), (), 0.9, 0.9)


class Table:
    """Runner that returns prepared probabilities."""

    input_shape = (32, 32, 3)
    outputs = 2
    embedded = Sidecars(output_activation="softmax")

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
    return verify.compare_with_reference(row, Path("unused"), reference, SPEC)


def test_counts_agreement_and_correct_answers():
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
    # By hand: of classes 0 to 4, the first image keeps 0, 1 and 3; the second all.
    assert compare(keras_rows, rows).top5_agreement == pytest.approx((3 / 5 + 1) / 2)
    assert compare([[0.9, 0.1]], [[0.2, 0.8]]).top5_agreement == 1


def test_unlabelled_images_have_no_top1():
    found = compare([[0.9, 0.1]], [[0.8, 0.2]])
    assert found.top1 is found.keras_top1 is None


@pytest.mark.parametrize(("format_name", "share"), [("tflite", 1), ("tflite_int8", 0)])
def test_only_exact_formats_may_swap_near_ties(format_name, share):
    found = compare([[0.50005, 0.49995]], [[0.49999, 0.50001]], None, format_name)
    assert found.agreement == share


@pytest.mark.parametrize("name", FORMATS)
def test_good_comparison_has_no_problems(name):
    assert verify.find_problems(GOOD, FORMATS[name]) == []


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_difference_over_the_limit_is_a_problem(difference):
    found = dataclasses.replace(GOOD, max_difference=difference)
    (problem,) = verify.find_problems(found, FORMATS["tflite"])
    assert problem.startswith("probabilities differ by ")
    assert problem.endswith("but may differ by at most 1e-04")


@pytest.mark.parametrize(
    ("number", "total", "is_good"),
    [(3, 100, True), (4, 100, False), (1, 24, True), (2, 24, False), (1, 16, False)],
)
def test_three_percent_may_disagree_rounded_to_images(number, total, is_good):
    found = dataclasses.replace(GOOD, images=total, disagreements=tuple(range(number)))
    problems = verify.find_problems(found, FORMATS["tflite_int8"])
    assert (problems == []) == is_good
    if not is_good:
        assert f"differs from Keras' on {number} of {total} images" in problems[0]


@pytest.mark.parametrize(
    ("top1", "is_good"), [(0.91, True), (0.89, True), (0.88, False)]
)
def test_top1_may_fall_by_one_point(top1, is_good):
    found = dataclasses.replace(GOOD, top1=top1)
    problems = verify.find_problems(found, FORMATS["tflite_int8"])
    assert (problems == []) == is_good
    if not is_good:
        assert problems == [
            "top-1 falls from 90.0% to 88.0%, by 2 of 100 images, "
            "but may fall by at most 1 (1%)"
        ]


def sky():
    folder = export_run.run_folder() / "samples" / "verification" / "sky"
    return open_image_folder(folder)


def test_logits_become_probabilities():
    inputs = keras.Input((32, 32, 3))
    colours = keras.layers.GlobalAveragePooling2D()(inputs)
    logits = keras.layers.Dense(3, kernel_initializer="identity")(colours / 50)
    runner = KerasRunner(keras.Model(inputs, logits))
    found = verify.reference_predictions(runner, sky(), "abc", SPEC).probabilities
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_rejects_outputs_that_are_not_finite():
    inputs = keras.Input((32, 32, 3))
    colours = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(3, "softmax", bias_initializer="zeros")
    model = keras.Model(inputs, dense(colours))
    dense.bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match=r"finite numbers.* for 12 of 12 images"):
        verify.reference_predictions(KerasRunner(model), sky(), "abc", SPEC)


def test_warns_about_few_images_and_calibration_images():
    both, only = (
        verify.find_warnings(sky().paths, sky().paths[:2]),
        verify.find_warnings(sky().paths, []),
    )
    # Wilson's interval for 12 of 12: 12 / (12 + 3.8415) = 0.7575.
    assert only == both[:1]
    assert only[0].startswith("Only 12 distinct verification images")
    assert "only 76% of other images" in only[0]
    assert both[1].startswith("2 of 12 verification images are also used for calib")


def test_copies_of_an_image_count_once(tmp_path):
    source = sky().paths[0]
    for i in range(30):
        shutil.copy(source, tmp_path / f"{i}.png")
    (warning,) = verify.find_warnings(list_images(tmp_path), [])
    assert warning.startswith("Only 1 distinct verification images")


def test_interval_of_agreement():
    # Newcombe (1998), Table I, method 3: 81 of 263 is 0.2553 to 0.3662.
    differing = tuple(range(182))
    found = dataclasses.replace(GOOD, images=263, disagreements=differing)
    assert found.agreement_interval == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_rejects_a_copy_with_other_outputs():
    ours, other = Table([[0.9, 0.1]]), Table([[0.8, 0.2]])
    verify.check_copy(ours, ours, np.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match=r"without its augmentation.* differ by 0.1"):
        verify.check_copy(ours, other, np.zeros((1, 32, 32, 3)))
