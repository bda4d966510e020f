import inspect
import sys

import keras
import numpy as np
import pytest

import keras_efficientnet
from export import loading
from keras_efficientnet.common.models import open_model
from keras_efficientnet.common.recursion_limit import raised_recursion_limit

IMAGES = np.zeros((1, 32, 32, 3), np.float32)


def build():
    return keras_efficientnet.EfficientNet(0.1, 2.0, 32, classes=3)


@pytest.fixture(scope="module")
def model():
    """A model of about 350 consecutive layers."""
    return build()


@pytest.fixture
def few_calls():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 250)
    yield sys.getrecursionlimit()
    sys.setrecursionlimit(before)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("deep") / "model.keras"
    model.save(path)
    return path


def test_keras_alone_exceeds_the_recursion_limit(model, few_calls):
    with pytest.raises(RecursionError):
        keras.models.clone_model(model)
    with raised_recursion_limit():
        keras.models.clone_model(model)
    assert sys.getrecursionlimit() == few_calls


@pytest.mark.parametrize(
    "act",
    [
        lambda model, file: build(),
        lambda model, file: keras_efficientnet.reset_classifier(model, 5),
        lambda model, file: keras_efficientnet.feature_extractor(model),
        lambda model, file: keras_efficientnet.class_maps(model, IMAGES),
        lambda model, file: open_model(str(file)),
        lambda model, file: loading.load(str(file)),
    ],
    ids=["build", "reset_classifier", "features", "class_maps", "open", "load"],
)
def test_our_functions_raise_the_recursion_limit(model, file, act, few_calls):
    act(model, file)
    assert sys.getrecursionlimit() == few_calls


def test_threads_keep_the_limit_raised_for_each_other():
    before = sys.getrecursionlimit()
    first, second = raised_recursion_limit(), raised_recursion_limit()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getrecursionlimit() > before
    second.__exit__(None, None, None)
    assert sys.getrecursionlimit() == before


def test_restores_the_limit_after_an_error():
    before = sys.getrecursionlimit()
    with pytest.raises(ValueError, match="classes"):
        keras_efficientnet.EfficientNet(0.1, 1.0, 32, classes=0)
    assert sys.getrecursionlimit() == before
