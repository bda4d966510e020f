import functools

import numpy as np
import onnx

from export.quantization import onnx_network, tensor_matching
from export.quantization.tflite_graph import Graph, Kind
from export.runtimes.onnx import open_session
from tests.support import export_run


def read(name):
    export_run.exported()
    return (export_run.run_folder() / "export" / name).read_bytes()


def image():
    (picture,) = export_run.pictures("flower", 1, seed=9)
    return picture[4:36, 8:40]


@functools.cache
def network():
    return onnx_network.prepare_network(
        read("model.onnx"), read("model_float32.tflite"), image()
    )


def test_every_layer_has_the_name_that_keras_gave_it():
    names = {x.output[0]: network().output(x) for x in network().nodes}
    layers = [x.output[0] for x in network().nodes if network().is_layer(x)]
    graph = Graph(read("model_float32.tflite"))
    assert len(layers) == len(graph.layers())
    twins = [network().names[names[output]] for output in layers]
    assert set(twins) == {graph.name(x.outputs[0]) for x in graph.layers()}
    # Golden: the order of the layers in EfficientNet.
    parts = [x.split("/")[1].split("_")[0] for x in twins]
    assert parts[0] == "stem"
    assert parts[1:-2] == sorted(parts[1:-2])
    assert [x.split("_")[0] for x in parts[-2:]] == ["top", "predictions"]


def test_tensors_of_another_network_have_no_counterparts():
    export_run.exported()
    model = onnx.load_from_string(read("model.onnx"))
    graph = Graph(read("model_float32.tflite"))
    for layer in graph.layers():
        kernel = graph.constant(layer.inputs[1])
        graph.set_constant(layer, 1, 0.9 * kernel)
    found = tensor_matching.match_tensors(model, graph.pack(), image())
    assert not [name for name in found.values() if "conv" in name.lower()]


def test_preparation_does_not_change_outputs():
    pixels = image()[np.newaxis].astype(np.float32)
    found, wanted = (
        open_session(content).run(None, {"images": pixels})[0]
        for content in (network().model.SerializeToString(), read("model.onnx"))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_images_are_centered_instead_of_normalised():
    # Golden: Lite networks normalise by (x - 127) / 128 (tensorflow/tpu).
    ((_, shift),) = network().shifts.items()
    np.testing.assert_allclose(shift, 3 * [127.0], rtol=1e-6)
    kinds = [node.op_type for node in network().nodes[:3]]
    assert kinds == ["Sub", "Transpose", "Conv"]
    assert set(network().ranges.values()) == {(-127.0, 128.0)}


def test_reshapes_that_change_nothing_are_removed():
    before = [x.op_type for x in onnx.load_from_string(read("model.onnx")).graph.node]
    after = [node.op_type for node in network().nodes]
    assert "Reshape" in before
    assert "Reshape" not in after


def test_depthwise_layers_are_recognised_in_both_graphs():
    graph = Graph(read("model_float32.tflite"))
    depthwise = [
        graph.name(x.outputs[0])
        for x in graph.layers()
        if graph.kind(x) == Kind.DEPTHWISE_CONV_2D
    ]
    assert sorted(depthwise) == sorted(
        network().names[network().output(node)]
        for node in network().nodes
        if any(x.name == "group" and x.i > 1 for x in node.attribute)
    )
