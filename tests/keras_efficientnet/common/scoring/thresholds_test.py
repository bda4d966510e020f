import pytest

from keras_efficientnet.common.scoring import thresholds

NAMES = ("cat", "dog, big", "a=b")
FOUND = (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 1.5], r"numbers from 0 to 1.*thresholds=\[0.5, 1.5\]"),
        ([0.5, -0.1], "numbers from 0 to 1"),
        ([0.5, float("nan")], "numbers from 0 to 1"),
        ([0.5, True], "numbers from 0 to 1"),
        (0.5, "numbers from 0 to 1, one per class"),
        ([0.5], "for each of the 2 classes. Received: 1 thresholds"),
    ],
)
def test_rejects_thresholds_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        thresholds.check_thresholds(values, 2)


def test_accepts_thresholds_of_0_and_1():
    assert thresholds.check_thresholds([0, 1], 2) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", (0.5, 0.5, 0.5)),
        ("cat=0.4", (0.4, 0.2, 0.3)),
        ("a=b=1, cat=0", (0.0, 0.2, 1.0)),
        ("dog, big=0.6,a=b=.7", (0.1, 0.6, 0.7)),
    ],
)
def test_replaces_thresholds_of_all_or_some_labels(text, expected):
    assert thresholds.parse_thresholds(text, NAMES, FOUND) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a number from 0 to 1, .* Received: '' in"),
        ("1.5", "a number from 0 to 1, .* '1.5'"),
        ("nan", "a number from 0 to 1"),
        ("cat=high", "a number from 0 to 1, .* 'high' in thresholds='cat=high'"),
        ("cat=0.3,cow=0.5", "name labels of the model, .* label 'cow'"),
        ("cta=0.3", "Did you mean 'cat'"),
        ("cat=0.3,cat=0.4", "each once.* label 'cat'"),
        ("cat=0.3,0.5", "name labels of the model, .* label '0.5'"),
        ("cat=0.3,,a=b=0.4", "label ',a=b'"),
        ("a=b=0.3,cat", "a number from 0 to 1, .* Received: ''"),
    ],
)
def test_rejects_thresholds_that_cannot_be_parsed(text, message):
    with pytest.raises(ValueError, match=message):
        thresholds.parse_thresholds(text, NAMES, FOUND)


def test_models_without_thresholds_start_from_one_half():
    found = thresholds.replace_thresholds("x=0.9", ("x", "y"), None, 2, "sigmoid")
    assert found == (0.9, 0.5)
    with pytest.raises(ValueError, match="ends in sigmoids.*ends in softmax"):
        thresholds.replace_thresholds("0.9", None, None, 2, "softmax")
