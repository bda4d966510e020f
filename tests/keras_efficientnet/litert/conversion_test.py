"""Conversion to LiteRT; further properties are those of `tflite_latency`."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_efficientnet.litert.conversion import convert_to_litert
from keras_efficientnet.litert.interpreters import InterpreterPool
from tests.support.training_runs.two_stages import two_stages


def test_copy_gives_the_outputs_of_the_model():
    keras.utils.set_random_seed(0)
    model = two_stages(classes=5)
    content = convert_to_litert(model, 32)

    def open_interpreter():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3))
    images = images.astype(np.float32)
    found = np.concatenate(InterpreterPool(open_interpreter, 2)(images[:, np.newaxis]))
    np.testing.assert_allclose(found, model.predict_on_batch(images), atol=1e-5)


def test_rejects_operations_that_litert_lacks(capfd):
    inputs = keras.Input((8, 8, 3))
    spectrum = keras.layers.Lambda(lambda x: keras.ops.erfinv(x / 1000))(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(spectrum))
    with pytest.raises(ValueError, match="only operations that LiteRT has"):
        convert_to_litert(model, 8)
    assert not capfd.readouterr().err


def test_rejects_other_backends(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="TensorFlow backend. Received: 'jax'"):
        convert_to_litert(None, 8)
