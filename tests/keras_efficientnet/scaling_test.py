import math

import pytest

from keras_efficientnet import scaling


def test_compound_doubles_multiply_adds_per_step():
    """Source: arXiv:1905.11946, equation 3: alpha * beta^2 * gamma^2 is about 2."""
    step = scaling.compound(1)
    growth = step.depth * step.width**2 * step.resolution**2
    assert growth == pytest.approx(2, rel=0.05)
    three = scaling.compound(3)
    assert three.depth == pytest.approx(1.2**3)
    assert three.width == pytest.approx(1.1**3)
    assert three.resolution == pytest.approx(1.15**3)


def test_compound_of_zero_is_the_base():
    assert scaling.compound(0) == scaling.Scaling(1.0, 1.0, 1.0)
    assert scaling.compound(0).image_size() == 224


@pytest.mark.parametrize(
    ("filters", "width", "rounded"),
    # Computed by hand: nearest multiple of 8, at least 8, and up if that loses more
    # than 10% (19.2 -> 16 -> 24).
    [(32, 1.0, 32), (16, 1.2, 24), (32, 1.1, 32), (40, 1.1, 48), (16, 0.1, 8)],
)
def test_round_filters(filters, width, rounded):
    assert scaling.round_filters(filters, width) == rounded


def test_round_repeats_rounds_up():
    assert [scaling.round_repeats(4, d) for d in (0.2, 1.0, 1.01, 5.3)] == [1, 4, 5, 22]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scaling.round_filters(32, 0), "above 0. Received: width=0"),
        (lambda: scaling.round_filters(0, 1), "above 0. Received: filters=0"),
        (lambda: scaling.round_repeats(1, -1), "above 0. Received: depth=-1"),
        (lambda: scaling.Scaling(width=math.nan), "above 0. Received: width=nan"),
        (lambda: scaling.compound(math.inf), "finite number. Received: phi=inf"),
        (lambda: scaling.compound(1, beta=0), "above 0. Received: beta=0"),
    ],
)
def test_scaling_rejects_invalid_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
