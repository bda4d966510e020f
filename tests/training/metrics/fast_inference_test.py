"""Evaluation in LiteRT against evaluation in Keras."""

import sys

import keras
import numpy as np
import pytest

from keras_efficientnet import EvalPreprocessing
from tests.support.training_runs.two_stages import two_stages
from training.data import sources
from training.metrics import fast_inference, predictions

SPEC = EvalPreprocessing(32)
IMAGES = 21  # not a multiple of the batch, which is padded


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 40, 40, 3), np.uint8)
    part = (images, rng.integers(0, 7, IMAGES))
    names = [str(i) for i in range(7)]
    source = sources.arrays({"train": part, "validation": part}, names)
    return source.split("validation")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return two_stages(classes=7, classifier_activation=None)


def test_scores_are_those_of_keras(model, split, monkeypatch):
    in_keras = predictions.predict(model, split, SPEC, batch_size=8)
    monkeypatch.setattr(fast_inference, "MIN_IMAGES", 16)
    calls = []
    classify = fast_inference._LiteRTModel._classify

    def count(self, images):
        calls.append(len(images))
        return classify(self, images)

    monkeypatch.setattr(fast_inference._LiteRTModel, "_classify", count)
    in_litert = predictions.predict(model, split, SPEC, batch_size=8)
    assert calls == [16, 8, 8, 8]
    assert len(in_litert.answers) == IMAGES
    np.testing.assert_array_equal(in_litert.answers, in_keras.answers)
    for name in ("probabilities", "losses"):
        found, wanted = getattr(in_litert, name), getattr(in_keras, name)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_few_images_stay_in_keras(model, split):
    assert fast_inference.accelerate(model, split, SPEC) is model


@pytest.mark.parametrize("limit", [-1.0, np.nan])
def test_models_with_other_answers_in_litert_stay_in_keras(
    limit, model, split, monkeypatch
):
    monkeypatch.setattr(fast_inference, "MIN_IMAGES", 16)
    monkeypatch.setattr(fast_inference, "MAX_DIFFERENCE", limit)
    assert fast_inference.accelerate(model, split, SPEC) is model


def test_works_without_litert(model, split, monkeypatch):
    monkeypatch.setattr(fast_inference, "MIN_IMAGES", 16)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert fast_inference.accelerate(model, split, SPEC) is model


def test_names_an_unreadable_image_among_the_first(model, tmp_path, monkeypatch):
    for i in range(20):
        image = np.full((8, 8, 3), i, np.uint8)
        keras.utils.save_img(tmp_path / f"{i:02}.png", image)
    (tmp_path / "03.png").write_bytes(b"broken")
    monkeypatch.setattr(fast_inference, "MIN_IMAGES", 16)
    with pytest.raises(ValueError, match=r"03\.png"):
        fast_inference.accelerate(model, sources.unlabelled(str(tmp_path)), SPEC)
