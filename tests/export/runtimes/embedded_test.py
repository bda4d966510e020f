"""Artefacts of other tools: the kind of outputs is inferred from the graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import loading
from export.runtimes import base, onnx


def model(end):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, end)(x))


ENDS = [("softmax", "softmax"), ("sigmoid", "sigmoid"), (None, "linear")]


@pytest.mark.parametrize(("end", "expected"), ENDS)
def test_saved_model_of_keras(end, expected, tmp_path):
    model(end).export(tmp_path / "saved", verbose=False)
    runner = base.SavedModelRunner(tmp_path / "saved")
    assert runner.embedded.output_activation == expected
    assert runner.embedded.labels is None


@pytest.mark.parametrize(("end", "expected"), ENDS)
def test_tflite_file_of_tensorflow(end, expected, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model(end)).convert())
    assert base.TFLiteRunner(path).embedded.output_activation == expected


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
@pytest.mark.parametrize(("end", "expected"), ENDS)
def test_onnx_file_of_keras_and_its_conversion(end, expected, tmp_path):
    import openvino

    path = tmp_path / "net.onnx"
    network = model(end)
    network(np.zeros((1, 8, 8, 3)))  # Keras exports only models that were called
    network.export(str(path), format="onnx", verbose=False)
    assert onnx.OnnxRunner(path).embedded.output_activation == expected
    openvino.save_model(openvino.convert_model(str(path)), str(tmp_path / "model.xml"))
    found = onnx.OpenVinoRunner(tmp_path / "model.xml").embedded
    assert found.output_activation == expected


def test_unknown_end_requires_a_sidecar(tmp_path):
    path = tmp_path / "net.tflite"
    content = tf.lite.TFLiteConverter.from_keras_model(model("relu")).convert()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"needs a preprocessing.json.*net.tflite"):
        loading.load(path)
    (tmp_path / "preprocessing.json").write_text('{"output_activation": "linear"}')
    scores = loading.load(path).classify(np.zeros((1, 8, 8, 3), np.float32))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
