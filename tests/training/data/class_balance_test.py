import json

import numpy as np
import pytest

from training.config import TrainConfig
from training.data import class_balance, run_source, sources

NAMES = ("cat", "dog")


def test_balanced_weights_are_inverse_to_the_numbers_of_images():
    found = class_balance.class_weights("balanced", np.array([6, 2]), NAMES)
    np.testing.assert_allclose(found, [8 / (2 * 6), 8 / (2 * 2)])  # scikit-learn's rule


def test_effective_number_weights_match_hand_arithmetic():
    # (1 - 0.5) / (1 - 0.5 ** n) is 1 and 2/3, with a mean of 7/9 over the 3 images.
    found = class_balance.class_weights("effective_number:0.5", np.array([1, 2]), NAMES)
    np.testing.assert_allclose(found, [9 / 7, 6 / 7])


def test_effective_number_lies_between_equal_and_balanced_weights():
    counts = np.array([5000, 50])
    ratios = [
        weights[1] / weights[0]
        for weights in (
            class_balance.class_weights(text, counts, NAMES)
            for text in ("effective_number:0", "effective_number", "balanced")
        )
    ]
    assert ratios[0] == 1 < ratios[1] < ratios[2] == pytest.approx(100)


def test_weights_of_a_file_are_taken_as_they_are(tmp_path):
    file = tmp_path / "weights.json"
    file.write_text('{"dog": 3, "cat": 0}')
    found = class_balance.class_weights(str(file), np.array([6, 2]), NAMES)
    assert found.tolist() == [0, 3]
    config = TrainConfig(data="digits", class_weights=str(file))
    contained = config.self_contained()
    file.unlink()
    contained.validate()
    found = class_balance.class_weights(contained.class_weights, np.ones(2), NAMES)
    assert found.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("balance", "Did you mean 'balanced'"),
        ("{", "or a JSON file such as"),
        ("effective_number:1", "a beta of at least 0 and under 1 .* beta='1'"),
        ("effective_number:nan", "a beta"),
        ("effective_number:much", "a beta"),
        ('{"cat": -1}', "a number of at least 0"),
        ('{"cat": NaN}', "a number of at least 0"),
        ('{"cat": "1"}', "a number of at least 0"),
        ('{"cat": true}', "a number of at least 0"),
        ('{"cat": 0}', "at least one of them above 0"),
        ("{}", "at least one of them above 0"),
    ],
)
def test_rejects_unusable_class_weights(text, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(data="digits", class_weights=text).validate()


def small_source(labels, names=NAMES):
    part = (np.zeros((len(labels), 8, 8, 3), np.uint8), labels)
    return sources.arrays({"train": part, "validation": part}, names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": 1}', "each of the 2 classes. Received: 1 weights, no weight of dog"),
        (
            '{"cat": 1, "dgo": 2, "cow": 1}',
            "3 weights, no weight of dog; unknown dgo, cow",
        ),
    ],
)
def test_rejects_weights_for_other_classes_before_the_run(text, message):
    config = TrainConfig(data="digits", class_weights=text)
    with pytest.raises(ValueError, match=message):
        run_source.open_source(config, small_source([0, 1, 1]))


@pytest.mark.parametrize(
    "field",
    [{"class_weights": "balanced"}, {"sampling": "sqrt"}, {"logit_adjustment": 1.0}],
)
def test_rejects_classes_without_training_images(field):
    config = TrainConfig(data="digits", **field)
    source = small_source([0, 0, 2], ("cat", "dog", "cow"))
    with pytest.raises(
        ValueError, match="training images for .* Received: none of dog"
    ):
        run_source.open_source(config, source)


def test_draws_follow_the_sampling_rule():
    labels = np.repeat([0, 1], [90, 10])
    for sampling, expected in (
        (None, [90, 10]),
        ("balanced", [50, 50]),
        ("sqrt", [75, 25]),  # 3 to 1, the roots of 90 and 10
    ):
        found = class_balance.draws_per_epoch(labels, NAMES, sampling)
        np.testing.assert_allclose(found, expected)


def test_weights_and_priors_are_those_of_the_sampled_images():
    source = small_source([0] * 6 + [1] * 2)
    labels, logits = np.array([0, 1]), np.zeros((2, 2), np.float32)

    def loss(**fields):
        config = TrainConfig(data="digits", label_smoothing=0.0, **fields)
        return run_source.training_loss(config, source)(labels, logits).numpy()

    # Source: hand arithmetic; the priors are 3/4 and 1/4.
    weighted = np.log(2) * np.array([2 / 3, 2])
    np.testing.assert_allclose(loss(class_weights="balanced"), weighted, rtol=1e-6)
    adjusted = -np.log([3 / 4, 1 / 4])
    np.testing.assert_allclose(loss(logit_adjustment=1.0), adjusted, rtol=1e-6)
    both = {"sampling": "balanced", "logit_adjustment": 1.0}
    np.testing.assert_allclose(loss(**both), [np.log(2)] * 2, rtol=1e-6)
    both = {"sampling": "balanced", "class_weights": "balanced"}
    np.testing.assert_allclose(loss(**both), [np.log(2)] * 2, rtol=1e-6)
    focal = loss(loss="focal", focal_gamma=2.0)
    np.testing.assert_allclose(focal, [np.log(2) / 4] * 2, rtol=1e-6)


def test_default_loss_is_the_plain_cross_entropy():
    config = TrainConfig(data="digits")
    assert run_source.training_loss(config, small_source([0, 1])) is None


def test_weights_of_labels_balance_images_with_and_without_them():
    positives = np.array([10, 50])
    found = class_balance.positive_weights("balanced", positives, 100, NAMES)
    np.testing.assert_allclose(found, [9, 1])
    # Source: arXiv:1901.05555, equation 2, for the images with and without the label.
    found = class_balance.positive_weights(
        "effective_number:0.9", positives, 100, NAMES
    )
    np.testing.assert_allclose(found, [(1 - 0.9**90) / (1 - 0.9**10), 1])
    found = class_balance.positive_weights(
        json.dumps({NAMES[1]: 3, NAMES[0]: 0.5}), positives, 100, NAMES
    )
    np.testing.assert_allclose(found, [0.5, 3])
