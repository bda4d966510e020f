"""Statements of docs/addons.md about components of TensorFlow Addons."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from keras_efficientnet.addons import tfa
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "addons.md"
RANDOM = np.random.RandomState(0)
SCORES = RANDOM.uniform(0.01, 0.99, (64, 5)).astype(np.float32)
LABELS = np.eye(5, dtype=np.float32)[RANDOM.randint(0, 5, 64)]


def tiny(**options):
    return keras_efficientnet.EfficientNet(0.25, 0.1, 32, **options)


def test_code_block_of_the_guide_runs(tmp_path, monkeypatch):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_efficientnet, "EfficientNetB0", tiny)
    images = RANDOM.uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    labels = np.eye(10, dtype=np.float32)[:8]
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    exec(compile(block, str(PAGE), "exec"), {"images_and_one_hot_labels": dataset})
    assert (tmp_path / "average-1.keras").exists()


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.0)])
def test_focal_loss_equals_keras_times_the_number_of_classes(alpha, gamma):
    theirs = tfa.losses.SigmoidFocalCrossEntropy(
        alpha=alpha, gamma=gamma, reduction="sum_over_batch_size"
    )
    ours = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, alpha=alpha, gamma=gamma
    )
    expected = float(theirs(LABELS, SCORES))
    assert 5 * float(ours(LABELS, SCORES)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_f1_score_equals_keras(average):
    found = []
    for metric in (
        tfa.metrics.F1Score(num_classes=5, average=average),
        keras.metrics.F1Score(average=average),
    ):
        metric.update_state(LABELS, SCORES)
        found.append(float(metric.result()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert 0 < found[0] < 1


def test_saved_model_gives_equal_outputs(tmp_path):
    model = tiny(classes=4, input_shape=(None, None, 3))
    images = RANDOM.uniform(0, 255, (2, 43, 37, 3)).astype(np.float32)
    model.export(str(tmp_path / "exported"))
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(
        exported.serve(images), model(images), rtol=1e-5, atol=1e-6
    )
    model.save(tmp_path / "saved", save_format="tf")
    again = keras.models.load_model(tmp_path / "saved", compile=False)
    np.testing.assert_allclose(again(images), model(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net.weights.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_2_files_load_as_weights(name, tmp_path):
    model = tiny(classes=4)
    save = model.save_weights if "weights" in name else model.save
    save(tmp_path / name)
    again = tiny(classes=4, weights=tmp_path / name)
    for weight, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_profile_equals_the_planned_cost():
    model = keras_efficientnet.EfficientNetB0(weights=None)
    variant = keras_efficientnet.VARIANTS["EfficientNetB0"]
    found, planned = (
        keras_efficientnet.profile(model),
        keras_efficientnet.plan_cost(variant),
    )
    assert found.layers == planned.layers
    assert found.trainable_params == 5_288_548  # source: tensorflow/tpu


def test_transfer_learning():
    model = tiny(include_top=False, input_shape=(32, 32, 3))
    classifier = keras_efficientnet.reset_classifier(model, classes=3)
    keras_efficientnet.freeze(classifier)
    assert [w.shape for w in classifier.trainable_weights] == [(320, 3), (3,)]
    with pytest.warns(UserWarning, match="rescaled already"):
        keras_efficientnet.check_input_range(tf.ones((2, 32, 32, 3)))
