import keras
import numpy as np
import pytest
import tensorflow as tf

from export.runtimes import base
from tests.support import export_run

UINT8 = {"dtype": np.uint8, "quantization": (0.5, 10)}
FLOAT = {"dtype": np.float32, "quantization": (0.0, 0)}


def test_quantize_rounds_and_clips():
    values = np.array([-100.0, 0.0, 0.3, 1.0, 1000.0], np.float32)
    steps = base.quantize(values, UINT8)
    assert steps.dtype == np.uint8
    assert steps.tolist() == [0, 10, 11, 12, 255]
    assert base.dequantize(steps, UINT8).tolist() == [-5.0, 0.0, 0.5, 1.0, 122.5]


def test_float_tensors_are_not_quantized():
    values = np.array([-3.7, 300.0], np.float32)
    assert base.quantize(values, FLOAT) is not None
    np.testing.assert_array_equal(base.quantize(values, FLOAT), values)
    np.testing.assert_array_equal(base.dequantize(values, FLOAT), values)


def test_all_runners_agree_on_shapes():
    export_run.exported()
    folder = export_run.run_folder() / "export"
    for runner in (
        base.KerasRunner(export_run.fitted_network()),
        base.SavedModelRunner(folder / "saved_model"),
        base.TFLiteRunner(folder / "model_int8.tflite"),
    ):
        assert runner.input_shape == (32, 32, 3)
        assert runner.outputs == 4
        scores = runner(np.zeros((2, 32, 32, 3), np.float32))
        assert scores.shape == (2, 4)
        assert scores.dtype == np.float32


def test_first_batch_of_a_keras_model_is_equal_to_later_ones():
    runner = base.KerasRunner(export_run.fitted_network())
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3))
    pixels = pixels.astype(np.float32)
    np.testing.assert_array_equal(runner(pixels), runner(pixels))


def test_rejects_bytes_that_are_no_tflite_model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"no flatbuffer at all")
    with pytest.raises(ValueError, match=r"contain a TFLite model. Received: .*model"):
        base.TFLiteRunner(path)


def test_rejects_a_saved_model_without_signature(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="must have a signature 'serving_default'"):
        base.SavedModelRunner(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "cut", "index", "missing", "graph"])
def test_error_of_a_damaged_saved_model_is_one_line(tmp_path, damage):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dense(64)(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, keras.layers.Dense(4, "softmax")(x)).export(
        tmp_path, verbose=False
    )
    (data,) = (tmp_path / "variables").glob("variables.data-*")
    content = bytearray(data.read_bytes())
    if damage == "flip":
        for place in range(0, len(content), 64):
            content[place] ^= 0x11
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(content[:50])
    elif damage == "index":
        (tmp_path / "variables" / "variables.index").write_bytes(b"text")
    elif damage == "missing":
        data.unlink()
    else:
        (tmp_path / "saved_model.pb").write_bytes(b"text")
    with pytest.raises(ValueError, match=rf"undamaged. Received: {tmp_path}") as caught:
        base.SavedModelRunner(tmp_path)
    assert "\n" not in str(caught.value)
    assert "{{" not in str(caught.value)


def test_rejects_a_feature_extractor():
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match=r"batch of scores.* outputs \[\(None, 30"):
        base.KerasRunner(model)
