import pytest

from keras_efficientnet.common import intervals


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # Source: R. G. Newcombe, Statistics in Medicine 17 (1998), Table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_interval_equals_published_values(right, images, low, high):
    found = intervals.wilson_interval(right, images)
    assert found == pytest.approx((low, high), abs=5e-5)
