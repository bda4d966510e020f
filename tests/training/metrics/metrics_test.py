import pytest
import tensorflow as tf

from training.metrics import metrics


def test_equal_scores_gain_nothing():
    scores = tf.zeros((10, 10))
    labels = tf.range(10)
    assert float(tf.reduce_sum(metrics.right_answers(labels, scores, 1))) == 1
    assert float(tf.reduce_sum(metrics.right_answers(labels, scores, 5))) == 5


def test_scores_print_what_people_look_for():
    scores = metrics.Scores(images=360, loss=0.1, top1=0.98611, top5=1.0)
    assert str(scores) == (
        "top-1 98.61% (96.79% to 99.41%)  top-5 100.00% (98.94% to 100.00%)  n=360"
    )


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
def test_interval_is_the_published_one(right, images, low, high):
    found = metrics.wilson_interval(right, images)
    assert found == pytest.approx((low, high), abs=5e-5)
