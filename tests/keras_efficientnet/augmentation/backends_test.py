"""Augmentation without TensorFlow; `make test-backends` runs it on JAX and PyTorch."""

import importlib.util
import sys

import keras
import numpy as np
import pytest

from keras_efficientnet import augmentation
from keras_efficientnet.augmentation import AugmentationLayer, AutoAugment, EvalCrop

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
MAKERS = {
    name: getattr(augmentation, name)
    for name in augmentation.__all__
    if name not in ("AugmentationLayer", "EvalCrop")
}


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch):
    """Where TensorFlow is installed, pretends that it is not."""
    if importlib.util.find_spec("tensorflow"):
        monkeypatch.setitem(sys.modules, f"{augmentation.__name__}.tf_calls", None)
        monkeypatch.delattr(augmentation, "tf_calls", raising=False)
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")


def make(name):
    return MAKERS[name](8) if name == "TrainCrop" else MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
def test_calls_name_the_missing_tensorflow(name):
    with pytest.raises(ImportError, match=f"`{name}` runs in tf.data and needs Tensor"):
        make(name)(IMAGES)


@pytest.mark.parametrize("name", MAKERS)
def test_layers_need_the_tensorflow_backend(name):
    with pytest.raises((RuntimeError, TypeError), match=f"`{name}` .*dataset.apply"):
        make(name).as_layer()


def test_a_saved_layer_works_at_inference_only():
    layer = AugmentationLayer.from_config(AugmentationLayer(AutoAugment()).get_config())
    found = layer(IMAGES, training=False)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), IMAGES)
    with pytest.raises(RuntimeError, match="on the TensorFlow backend only"):
        layer(IMAGES, training=True)


def test_evaluation_crops_arrays():
    assert EvalCrop(4)(IMAGES).shape == (2, 4, 4, 3)
