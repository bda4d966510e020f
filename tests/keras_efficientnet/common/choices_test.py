import numpy as np
import pytest

from keras_efficientnet.common.choices import check_choice, check_count, did_you_mean


def test_suggests_the_closest_choice():
    assert did_you_mean("imagenett", ["advprop", "imagenet"]) == (
        " Did you mean 'imagenet'?"
    )
    assert did_you_mean("something else", ["imagenet"]) == ""


def test_rejects_unknown_values_among_choices_of_mixed_types():
    check_choice("pooling", None, (None, "avg"))
    with pytest.raises(
        ValueError, match=r"`pooling` must be one of None, 'avg'.*'avg'.*pooling='avq'"
    ):
        check_choice("pooling", "avq", (None, "avg"))


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4), np.array(4)])
def test_converts_numpy_integers_to_python_integers(value):
    assert type(check_count("classes", value)) is int
    assert check_count("classes", value) == 4


@pytest.mark.parametrize("value", [0, 4.0, "4", None, np.float32(4)])
def test_rejects_values_that_are_not_counts(value):
    with pytest.raises(ValueError, match="`classes` must be an integer of at least 1"):
        check_count("classes", value)
