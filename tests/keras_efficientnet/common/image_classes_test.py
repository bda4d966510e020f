import numpy as np
import pytest

from keras_efficientnet.common.image_classes import choose_balanced, match_classes
from keras_efficientnet.preprocessing import imagenet_classes

WNIDS = [wnid for wnid, _ in imagenet_classes()]
ENGLISH = [name for _, name in imagenet_classes()]


def match(data_names, model_names):
    return match_classes(data_names, model_names, len(model_names)).tolist()


def test_classes_are_matched_by_name_in_any_order():
    assert match(["b", "a"], ("a", "b", "c")) == [1, 0]


@pytest.mark.parametrize("model_names", [WNIDS, ENGLISH])
def test_imagenet_classes_go_by_id_and_by_english_name(model_names):
    # Source: ILSVRC2012's class order; giant panda is class 388, goldfish 1.
    names = ["giant_panda", "n01443537", "Giant Panda"]
    assert match(names, model_names) == [388, 1, 388]


def test_case_underscores_and_unicode_form_do_not_matter():
    assert match(["cafe\u0301", "Sky_Blue"], ("caf\u00e9", "sky blue")) == [0, 1]


def test_an_exact_name_wins_and_a_guess_is_never_made():
    assert match(["Cat", "cat"], ("cat", "Cat")) == [1, 0]
    with pytest.raises(ValueError, match="could be two of them: CAT"):
        match(["CAT"], ("cat", "Cat"))


def test_numbers_are_matched_by_value_where_no_name_is_found():
    numbers = [str(i) for i in range(1000)]
    assert match(numbers, WNIDS) == [*range(1000)]
    assert match(["1", "10", *"23456789"], "abcdefghij") == [0, 9, *range(1, 9)]


def test_numbered_labels_are_names():
    """Scored as 8% instead of 100% when the order as text decided."""
    labels = [str(i) for i in range(1, 13)]
    assert match(sorted(labels), labels) == [0, 9, 10, 11, *range(1, 9)]
    assert match(["07", "3"], labels) == [6, 2]


def test_the_order_decides_with_a_warning_where_names_are_not_known():
    with pytest.warns(UserWarning, match="taken in their order: x, y"):
        assert match_classes(["x", "y"], None, 2).tolist() == [0, 1]
    assert match_classes(["0", "1"], None, 2).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("data_names", "model_names", "outputs", "message"),
    [
        (["a", "z"], ("a", "b"), 2, "These are not, or could be two of them: z"),
        (["dg"], ("cat", "dog"), 2, "Did you mean 'dog'"),
        (["dog"], ("dog", "dog"), 2, "could be two of them: dog"),
        (["tench", "crane"], WNIDS, 1000, "two of them: crane"),  # bird and machine
        ([*"0123456789"], [*"123456789", "10"], 10, "could be two of them: 0"),
        (["1", "2"], WNIDS, 1000, "same number of classes. Received: 1000 and 2"),
        (["a", "b"], None, 3, "same number of classes. Received: 3 and 2"),
        (["3", "5"], ("a", "b"), 2, "all from 0 or from 1 on. Received: 3, 5"),
    ],
)
def test_classes_that_do_not_fit_are_refused(data_names, model_names, outputs, message):
    with pytest.raises(ValueError, match=message):
        match_classes(data_names, model_names, outputs)


def test_balanced_choice_takes_classes_in_turn_and_is_always_the_same():
    labels = np.array([0] * 25 + [1] * 5 + [2] * 5)
    chosen = choose_balanced(labels, 12)
    assert np.bincount(labels[chosen]).tolist() == [4, 4, 4]
    assert labels[chosen][:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert chosen == choose_balanced(labels, 12)
    assert sorted(choose_balanced(labels, 99)) == list(range(35))
    # Files that follow each other are often alike, so the first are not simply taken.
    assert sorted(p for p in chosen if labels[p] == 0) != [0, 1, 2, 3]


def test_balanced_choice_of_none():
    assert choose_balanced(np.array([0, 1]), 0) == []
    assert choose_balanced(np.zeros(0, int), 3) == []
    with pytest.raises(ValueError, match=r"at least 0. Received: count=-1"):
        choose_balanced(np.array([0]), -1)
