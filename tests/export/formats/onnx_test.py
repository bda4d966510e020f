import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import keras_efficientnet
from export import extras
from export.formats import onnx as writer
from export.runtimes import onnx as runners_onnx
from tests.support import artefacts, export_run


def artefact():
    path, _ = artefacts.written(writer.write, "model.onnx")
    return path


def noise(count, size=32):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def in_float64(model):
    """Returns a copy without the rounding of float32, which differs by processor."""

    def convert(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    exact = keras.models.clone_model(model, clone_function=convert)
    exact.set_weights(model.get_weights())
    return exact


def test_onnx_runtime_matches_keras_at_any_batch_size():
    session = onnxruntime.InferenceSession(artefact())
    exact = in_float64(export_run.fitted_network())
    for count in (1, 5):
        pixels = noise(count)
        (scores,) = session.run(["probabilities"], {"images": pixels})
        wanted = exact.predict_on_batch(pixels)
        np.testing.assert_allclose(scores, wanted, atol=1e-6)


def test_names_shapes_and_opset_are_as_documented():
    model = onnx.load(artefact())
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert opsets[""] == writer.OPSET == 15
    session = onnxruntime.InferenceSession(artefact())
    (images,), (output,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape) == ("images", ["batch", 32, 32, 3])
    assert (output.name, output.shape) == ("probabilities", ["batch", 4])
    assert {node.domain for node in model.graph.node} == {""}


def test_metadata_has_labels_and_preprocessing():
    session = onnxruntime.InferenceSession(artefact())
    found = session.get_modelmeta().custom_metadata_map
    assert found["labels"].split("\n") == list(export_run.LABELS)
    assert json.loads(found["preprocessing"])["interpolation"] == "bicubic_legacy"


def test_remark_states_the_opset():
    _, remarks = artefacts.written(writer.write, "model.onnx")
    assert remarks == ("ONNX opset 15, IR version 8.",)


def test_no_batch_normalisation_is_left():
    kinds = {node.op_type for node in onnx.load(artefact()).graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetLite0"])
def test_complete_networks_are_converted_correctly(name, tmp_path):
    model = getattr(keras_efficientnet, name)(weights=None)
    writer.write(export_run.source(model), tmp_path / "model.onnx")
    pixels = noise(2, 224)
    scores = runners_onnx.OnnxRunner(tmp_path / "model.onnx")(pixels)
    # Relative, because with random weights all classes are about equally likely.
    np.testing.assert_allclose(scores, model.predict_on_batch(pixels), rtol=1e-3)


def test_runner_has_one_thread():
    options = runners_onnx.open_onnx(artefact()).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_rejects_bytes_that_are_no_onnx_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no protocol buffer at all")
    with pytest.raises(ValueError, match=r"contain an ONNX model. .*model.onnx"):
        runners_onnx.OnnxRunner(path)


def test_rejects_a_truncated_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(artefact().read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"contain an ONNX model. .*model.onnx"):
        runners_onnx.OnnxRunner(path)


def test_error_for_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(extras.sys.modules, "tf2onnx", None)
    source = export_run.source(export_run.fitted_network())
    with pytest.raises(ImportError, match=r"tf2onnx .*efficientnet-keras\[onnx\]"):
        writer.write(source, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
