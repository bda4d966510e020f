import numpy as np
import pytest

from keras_efficientnet.common.choices import check_choice, check_count, did_you_mean


def test_names_the_nearest_choice():
    assert did_you_mean("imagenett", ["advprop", "imagenet"]) == (
        " Did you mean 'imagenet'?"
    )
    assert did_you_mean("something else", ["imagenet"]) == ""


def test_choice_of_mixed_types_is_checked():
    check_choice("pooling", None, (None, "avg"))
    with pytest.raises(
        ValueError, match=r"`pooling` must be one of None, 'avg'.*'avg'.*pooling='avq'"
    ):
        check_choice("pooling", "avq", (None, "avg"))


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4), np.array(4)])
def test_counts_of_numpy_become_python_integers(value):
    assert type(check_count("classes", value)) is int
    assert check_count("classes", value) == 4


@pytest.mark.parametrize("value", [0, 4.0, "4", None, np.float32(4)])
def test_rejects_what_is_no_count(value):
    with pytest.raises(ValueError, match="`classes` must be an integer of at least 1"):
        check_count("classes", value)
