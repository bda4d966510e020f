import functools

import numpy as np
import onnx
import onnxruntime

from export.quantization import qdq
from export.runtimes.onnx import open_session
from tests.support import export_run

RNG = np.random.default_rng(0)


def content():
    export_run.exported()
    return (export_run.run_folder() / "export" / "model_int8.onnx").read_bytes()


@functools.cache
def model():
    return onnx.load_from_string(content())


def kernels(is_depthwise):
    """Returns the integer kernels of convolutions and the classifier."""
    constants = {
        x.name: onnx.numpy_helper.to_array(x) for x in model().graph.initializer
    }
    sources = {x.output[0]: x.input[0] for x in model().graph.node}
    return [
        constants[sources[node.input[1]]]
        for node in model().graph.node
        if node.op_type in qdq.LAYERS
        and is_depthwise == any(x.name == "group" and x.i > 1 for x in node.attribute)
    ]


def test_sums_of_two_products_fit_into_16_bits():
    # Golden: VPMADDUBSW of AVX2 adds two products with saturation at 32767.
    found = kernels(is_depthwise=False)
    assert {x.dtype for x in found} == {np.dtype(np.int8)}
    assert max(np.abs(x.astype(int)).max() for x in found) == 64
    assert 2 * 255 * 64 <= 32767


def test_depthwise_kernels_use_8_bits():
    found = kernels(is_depthwise=True)
    assert all(np.abs(x.astype(int)).max() == 127 for x in found)


def test_answers_do_not_depend_on_the_kernels_of_the_runtime():
    options = onnxruntime.SessionOptions()
    # Computes with 16 bits throughout, on processors without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    exact = onnxruntime.InferenceSession(content(), options)
    images = RNG.choice([0.0, 255.0], (4, 32, 32, 3)).astype(np.float32)
    found, wanted = (
        session.run(None, {"images": images})[0]
        for session in (open_session(content()), exact)
    )
    np.testing.assert_array_equal(found, wanted)


def test_runtime_computes_all_layers_in_integers(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(content(), options)
    kinds = [x.op_type for x in onnx.load(tmp_path / "optimized.onnx").graph.node]
    convolutions = [x for x in model().graph.node if x.op_type == "Conv"]
    assert kinds.count("QLinearConv") == len(convolutions) > 10
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm", "Clip"} & set(kinds)


def test_outputs_are_float_probabilities_at_any_batch_size():
    images = RNG.uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    session = open_session(content())
    (found,) = session.run(["probabilities"], {"images": images})
    each = [session.run(None, {"images": image[None]})[0][0] for image in images]
    np.testing.assert_allclose(found, each, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_kernels_have_a_scale_per_channel():
    graph = model().graph
    constants = {x.name: onnx.numpy_helper.to_array(x) for x in graph.initializer}
    rounded = [
        x
        for x in graph.node
        if x.op_type == "DequantizeLinear" and x.input[0] in constants
    ]
    kernels = [x for x in rounded if constants[x.input[0]].dtype == np.int8]
    assert len(kernels) == sum(x.op_type in qdq.LAYERS for x in graph.node)
    for node in kernels:
        shape = constants[node.input[0]].shape
        (axis,) = (x.i for x in node.attribute if x.name == "axis")
        assert constants[node.input[1]].shape == (shape[axis],)
