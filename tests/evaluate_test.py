import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from training import evaluate, sources

SPEC = EvalPreprocessing(image_size=8, crop_padding=0, resize="bilinear")


def brightness_model(classes):
    """Answers class k with certainty to an image filled with the value k."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    weights = np.zeros((3, classes), np.float32)
    weights[0] = 2.0 * np.arange(classes)
    bias = -(np.arange(classes, dtype=np.float32) ** 2)
    dense = keras.layers.Dense(classes, activation="softmax")
    model = keras.Model(inputs, dense(x))
    dense.set_weights([weights, bias])
    return model


def bright_split(values, labels, classes):
    values = np.asarray(values, np.uint8)[:, None, None, None]
    images = np.broadcast_to(values, (len(values), 8, 8, 3))
    part = (images, np.asarray(labels))
    names = [str(i) for i in range(classes)]
    source = sources.arrays({"train": part, "validation": part}, names)
    return source.split("validation")


@pytest.mark.parametrize("batch_size", [1, 10, 64, 2000])
def test_odd_number_of_images_is_counted_once(batch_size):
    # 1,003 images with 10 classes; every image from the 600th on is labelled wrong
    # by one, so that filling up with the last image would lower the score.
    values = np.arange(1003) % 10
    labels = np.where(np.arange(1003) < 600, values, (values + 1) % 10)
    if batch_size == 1:
        values, labels = values[590:610], labels[590:610]
    split = bright_split(values, labels, 10)
    scores = evaluate.evaluate(brightness_model(10), split, SPEC, batch_size)
    right = int((values == labels).sum())
    assert scores.images == len(values)
    assert scores.top1 == pytest.approx(right / len(values))


def test_top5_and_loss_by_hand():
    split = bright_split([0, 0, 0], [0, 4, 5], 10)
    scores = evaluate.evaluate(brightness_model(10), split, SPEC)
    # Scores fall with the class, so 4 is the fifth and 5 the sixth answer.
    assert scores.top1 == pytest.approx(1 / 3)
    assert scores.top5 == pytest.approx(2 / 3)
    logits = -(np.arange(10.0) ** 2)
    log_p = logits - math.log(np.exp(logits).sum())
    floor = math.log(keras.config.epsilon())
    expected = -np.mean([log_p[0], max(log_p[4], floor), floor])
    assert scores.loss == pytest.approx(expected, rel=1e-5)


def test_top5_of_fewer_classes_takes_all():
    split = bright_split([0, 1], [1, 2], 3)
    assert evaluate.evaluate(brightness_model(3), split, SPEC).top5 == 1.0


def test_equal_scores_gain_nothing():
    scores = tf.zeros((10, 10))
    labels = tf.range(10)
    assert float(tf.reduce_sum(evaluate.right_answers(labels, scores, 1))) == 1
    assert float(tf.reduce_sum(evaluate.right_answers(labels, scores, 5))) == 5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_keras(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1], np.int32)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )(np.eye(4)[labels], logits)
    ours = evaluate.cross_entropy(tf.constant(labels), tf.constant(logits), smoothing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_cross_entropy_is_float32_for_half_precision():
    logits = tf.constant([[20.0, 0.0]], tf.float16)
    loss = evaluate.cross_entropy(tf.constant([1]), logits, 0.0)
    assert loss.dtype == tf.float32
    assert float(loss[0]) == pytest.approx(20.0, abs=1e-3)


def test_scores_print_what_people_look_for():
    scores = evaluate.Scores(images=360, loss=0.1, top1=0.98611, top5=1.0)
    assert str(scores) == "top-1 98.61%  top-5 100.00%  n=360"


def test_model_must_be_a_run_or_a_keras_file(tmp_path):
    with pytest.raises(ValueError, match=r"run folder or a \.keras file"):
        evaluate.load_model(str(tmp_path / "missing.keras"))
    with pytest.raises(ValueError, match=r"finished run: .*model.keras is missing"):
        evaluate.load_model(str(tmp_path))


def test_command_refuses_another_number_of_classes(tmp_path):
    brightness_model(3).save(tmp_path / "model.keras")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "training.evaluate",
            f"--model={tmp_path / 'model.keras'}",
            "--data=digits",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "same number of classes. Received: 3 and 10" in done.stdout + done.stderr
