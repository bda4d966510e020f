import keras
import pytest

from export.formats import tflite
from export.runtimes.web import WebRunner


def write(folder):
    """Writes a small network."""
    inputs = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    outputs = keras.layers.Dense(4, activation="softmax")(pooled)
    content = tflite.convert(keras.Model(inputs, outputs), 8)
    (folder / "model.tflite").write_bytes(content)


def test_rejects_a_file_that_is_no_tflite_model(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no model")
    with pytest.raises(ValueError, match="must contain a TFLite model. Received: "):
        WebRunner(tmp_path)


def test_rejects_a_model_with_other_tensors(tmp_path):
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    (tmp_path / "model.tflite").write_bytes(tflite.convert(network, 8))
    message = r"must map images to scores. Received: .* \[\(1, 6, 6, 2\)\]"
    with pytest.raises(ValueError, match=message):
        WebRunner(tmp_path)


def test_runner_reports_its_shapes(tmp_path):
    write(tmp_path)
    runner = WebRunner(tmp_path)
    assert runner.input_shape == (8, 8, 3)
    assert runner.outputs == 4
