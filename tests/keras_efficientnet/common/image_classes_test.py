import numpy as np
import pytest

from keras_efficientnet.common.image_classes import (
    choose_balanced,
    find_similar_names,
    match_classes,
)
from keras_efficientnet.preprocessing import imagenet_classes

WNIDS = [wnid for wnid, _ in imagenet_classes()]
ENGLISH = [name for _, name in imagenet_classes()]


def match(data_names, model_names):
    return match_classes(data_names, model_names, len(model_names)).tolist()


def test_matches_classes_by_name_in_any_order():
    assert match(["b", "a"], ("a", "b", "c")) == [1, 0]


@pytest.mark.parametrize("model_names", [WNIDS, ENGLISH])
def test_matches_imagenet_classes_by_id_and_by_english_name(model_names):
    # Source: ILSVRC2012 class order; giant panda is class 388, goldfish is 1.
    names = ["giant_panda", "n01443537", "Giant Panda"]
    assert match(names, model_names) == [388, 1, 388]


def test_ignores_case_underscores_and_unicode_form():
    assert match(["cafe\u0301", "Sky_Blue"], ("caf\u00e9", "sky blue")) == [0, 1]


def test_prefers_exact_names_and_rejects_ambiguous_ones():
    assert match(["Cat", "cat"], ("cat", "Cat")) == [1, 0]
    with pytest.raises(ValueError, match="ambiguous classes: CAT"):
        match(["CAT"], ("cat", "Cat"))


def test_matches_numbers_by_value_if_no_name_matches():
    numbers = [str(i) for i in range(1000)]
    assert match(numbers, WNIDS) == [*range(1000)]
    assert match(["1", "10", *"23456789"], "abcdefghij") == [0, 9, *range(1, 9)]


def test_matches_numbered_labels_as_names():
    """Matching by text order once gave an accuracy of 8% instead of 100%."""
    labels = [str(i) for i in range(1, 13)]
    assert match(sorted(labels), labels) == [0, 9, 10, 11, *range(1, 9)]
    assert match(["07", "3"], labels) == [6, 2]


def test_matches_by_order_with_a_warning_if_names_are_unknown():
    with pytest.warns(UserWarning, match="matched in order: x, y"):
        assert match_classes(["x", "y"], None, 2).tolist() == [0, 1]
    assert match_classes(["0", "1"], None, 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("data_names", "model_names", "outputs", "message"),
    [
        (["a", "z"], ("a", "b"), 2, "missing or ambiguous classes: z"),
        (["dg"], ("cat", "dog"), 2, "Did you mean 'dog'"),
        (["dog"], ("dog", "dog"), 2, "ambiguous classes: dog"),
        (
            ["tench", "crane"],
            WNIDS,
            1000,
            "ambiguous classes: crane",
        ),  # bird and machine
        ([*"0123456789"], [*"123456789", "10"], 10, "ambiguous classes: 0"),
        (["1", "2"], WNIDS, 1000, "same number of classes. Received: 1000 and 2"),
        (["a", "b"], None, 3, "same number of classes. Received: 3 and 2"),
        (["3", "5"], ("a", "b"), 2, "from 0 or from 1. Received: 3, 5"),
    ],
)
def test_rejects_classes_that_do_not_match(data_names, model_names, outputs, message):
    with pytest.raises(ValueError, match=message):
        match_classes(data_names, model_names, outputs)


def test_balanced_choice_takes_classes_in_turn_and_is_deterministic():
    labels = np.array([0] * 25 + [1] * 5 + [2] * 5)
    chosen = choose_balanced(labels, 12)
    assert np.bincount(labels[chosen]).tolist() == [4, 4, 4]
    assert labels[chosen][:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert chosen == choose_balanced(labels, 12)
    assert sorted(choose_balanced(labels, 99)) == list(range(35))
    # Consecutive files are often similar, so the choice is not simply the first ones.
    assert sorted(p for p in chosen if labels[p] == 0) != [0, 1, 2, 3]


def test_balanced_choice_of_zero_images():
    assert choose_balanced(np.array([0, 1]), 0) == []
    assert choose_balanced(np.zeros(0, int), 3) == []
    with pytest.raises(ValueError, match=r"at least 0. Received: count=-1"):
        choose_balanced(np.array([0]), -1)


def test_finds_classes_that_differ_only_in_spelling():
    names = ["caf\u00e9", "1", "sea_lion", "cafe\u0301", "01", "Sea lion", "cafe"]
    assert find_similar_names(names) == [
        ("caf\u00e9", "cafe\u0301"),
        ("1", "01"),
        ("sea_lion", "Sea lion"),
    ]
    assert not find_similar_names([*"0123456789", "10"])
