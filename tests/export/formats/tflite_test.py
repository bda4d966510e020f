import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from export.formats import tflite
from export.quantization.tflite_graph import Graph
from keras_efficientnet.common.cli.quiet import quiet_stderr
from tests.support import export_run


def artefact(name):
    export_run.exported()
    path = export_run.run_folder() / "export" / name
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return path.read_bytes(), interpreter


def small_model(function):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(function(inputs))
    return keras.Model(inputs, keras.layers.Softmax()(x))


def test_float32_takes_float_pixels_and_names_its_tensors():
    content, interpreter = artefact("model_float32.tflite")
    (image,), (scores,) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    assert image["shape"].tolist() == [1, 32, 32, 3]
    assert image["dtype"] == np.float32
    assert scores["shape"].tolist() == [1, 4]
    signatures = interpreter.get_signature_list()
    assert signatures == {
        "serving_default": {"inputs": ["images"], "outputs": ["probabilities"]}
    }
    tflite.check_builtin(content)


def test_tensors_of_a_network_with_swish_are_named():
    model = small_model(keras.layers.Activation("swish"))
    interpreter = Interpreter(model_content=tflite.convert(model, 8))
    signatures = interpreter.get_signature_list()
    assert signatures["serving_default"]["outputs"] == ["probabilities"]


def test_int8_takes_raw_pixels_and_returns_steps_of_one_in_256():
    content, interpreter = artefact("model_int8.tflite")
    (image,) = interpreter.get_input_details()
    (scores,) = interpreter.get_output_details()
    assert image["dtype"] == scores["dtype"] == np.uint8
    assert image["quantization"] == (1.0, 0)
    assert scores["quantization"] == (1 / 256, 0)
    tflite.check_builtin(content)
    tflite.check_integer(Graph(content))


def test_int8_has_a_scale_per_channel():
    _, interpreter = artefact("model_int8.tflite")
    scales = [
        len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
    ]
    assert max(scales) == 1280  # the head's convolution


def test_int8_is_about_a_quarter_of_float32():
    sizes = {result.format: result.megabytes for result in export_run.exported()}
    assert sizes["tflite_int8"] < 0.35 * sizes["tflite"]


def tensor_types(interpreter):
    details = interpreter.get_tensor_details()
    return collections.Counter(np.dtype(tensor["dtype"]).name for tensor in details)


def kernels():
    kinds = keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    return sum(isinstance(x, kinds) for x in export_run.fitted_network().layers)


@pytest.mark.parametrize("name", ["float16", "dynamic", "int16x8"])
def test_input_and_output_are_float_pixels_and_probabilities(name):
    content, interpreter = artefact(f"model_{name}.tflite")
    (image,) = interpreter.get_input_details()
    (scores,) = interpreter.get_output_details()
    assert image["shape"].tolist() == [1, 32, 32, 3]
    assert image["dtype"] == scores["dtype"] == np.float32
    assert image["quantization"] == scores["quantization"] == (0.0, 0)
    tflite.check_builtin(content)


def test_float16_stores_all_weights_in_two_bytes():
    _, interpreter = artefact("model_float16.tflite")
    assert tensor_types(interpreter)["float16"] >= kernels()  # and the biases
    sizes = {result.format: result.megabytes for result in export_run.exported()}
    assert sizes["tflite_float16"] < 0.55 * sizes["tflite"]


def test_dynamic_computes_on_floats_with_int8_kernels():
    _, interpreter = artefact("model_dynamic.tflite")
    types = tensor_types(interpreter)
    depthwise = sum(
        isinstance(layer, keras.layers.DepthwiseConv2D)
        for layer in export_run.fitted_network().layers
    )
    assert types["int8"] == kernels() - depthwise
    assert "int16" not in types
    sizes = {result.format: result.megabytes for result in export_run.exported()}
    assert sizes["tflite_dynamic"] < 0.35 * sizes["tflite"]


def test_int16x8_computes_on_int16_between_float_input_and_output():
    _, interpreter = artefact("model_int16x8.tflite")
    operations = [op["op_name"] for op in interpreter._get_ops_details()]
    operations = [name for name in operations if name != "DELEGATE"]  # of the floats
    first = operations.index("QUANTIZE")
    assert operations[-1] == "DEQUANTIZE"
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(operations[first + 1 : -1])
    convolutions = [
        index for index, name in enumerate(operations) if name.endswith("CONV_2D")
    ]
    inside = sum(index > first for index in convolutions)
    assert inside > len(convolutions) / 2
    assert tensor_types(interpreter)["int16"] >= inside
    sizes = {result.format: result.megabytes for result in export_run.exported()}
    assert sizes["tflite_int16x8"] < 0.4 * sizes["tflite"]


def test_rejects_float_tensors_in_integer_models():
    content, _ = artefact("model_float32.tflite")
    with pytest.raises(ValueError, match=r"no float tensors. Received: "):
        tflite.check_integer(Graph(content))


def test_rejects_an_operation_that_only_tensorflow_has(tmp_path):
    model = small_model(keras.ops.erfinv)
    with pytest.raises(ValueError, match=r"(?s)builtin in TFLite.*Erfinv"):
        tflite.write_float32(export_run.source(model), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_rejects_flex_operations():
    tan = tf.function(tf.math.tan, input_signature=[tf.TensorSpec((1, 8), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tan.get_concrete_function()]
    )
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    with quiet_stderr():
        content = converter.convert()
    with pytest.raises(ValueError, match=r"builtin operations only.*FlexTan"):
        tflite.check_builtin(content)


def test_rejects_weights_that_are_too_large_for_float16(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer="ones")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1e5)(x))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    with pytest.raises(ValueError, match=r"at most 65504 for float16.*100000 in"):
        tflite.write_float16(export_run.source(model), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_finds_weights_too_large_for_float16_in_layers_without_a_bias(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    x = keras.layers.Dense(4, use_bias=False, kernel_initializer="ones")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    model.layers[-2].set_weights([np.full((3, 4), 1e5)])
    with pytest.raises(ValueError, match=r"at most 65504 for float16.*100000 in"):
        tflite.write_float16(export_run.source(model), tmp_path / "model.tflite")


def test_rejects_loops():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.LSTM(4)(keras.layers.Reshape((8, 24))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    with pytest.raises(ValueError, match=r"single graph, without loops"):
        tflite.convert(model, 8)
