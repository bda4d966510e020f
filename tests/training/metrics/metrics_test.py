import tensorflow as tf

from training.metrics import metrics


def test_constant_scores_gain_nothing():
    scores = tf.zeros((10, 10))
    labels = tf.range(10)
    assert float(tf.reduce_sum(metrics.top_k_correct(labels, scores, 1))) == 1
    assert float(tf.reduce_sum(metrics.top_k_correct(labels, scores, 5))) == 5


def test_scores_print_accuracy_with_intervals():
    scores = metrics.Scores(images=360, loss=0.1, top1=0.98611, top5=1.0)
    assert str(scores) == (
        "top-1 98.61% (96.79% to 99.41%)  top-5 100.00% (98.94% to 100.00%)  n=360"
    )


def test_top_predictions_may_be_any_of_the_labels():
    labels = tf.constant([[0.0, 0.3, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    scores = tf.constant([[0.1, 0.9, 0.5], [0.9, 0.1, 0.1], [0.2, 0.9, 0.4]])
    assert metrics.any_top_k_correct(labels, scores, 1).numpy().tolist() == [1, 0, 0]
    assert metrics.any_top_k_correct(labels, scores, 5).numpy().tolist() == [1, 0, 1]
