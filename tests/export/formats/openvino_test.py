import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import keras_efficientnet
from export import extras
from export.formats import onnx
from export.formats import openvino as writer
from export.runtimes import onnx as runners_onnx
from tests.support import artefacts, export_run

# Counts attempts to reach the network, by any thread.
CONVERT_WITHOUT_NETWORK = """
import socket, sys, threading
attempts = []
def refuse(*args, **kwargs):
    attempts.append(args)
    raise OSError("no network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from export import extras
extras.require_openvino().convert_model(sys.argv[1])
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join(5)
print(len(attempts), "openvino_telemetry.main" in sys.modules)
"""
KEYS = ("model_type", "labels", "preprocessing")


def artefact():
    path, _ = artefacts.written(writer.write, "openvino")
    return path


def noise(count, size=32):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def read():
    return extras.require_openvino().Core().read_model(artefact() / "model.xml")


def test_openvino_matches_keras_at_any_batch_size():
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = extras.require_openvino().compile_model(read(), "CPU", exact)
    for count in (1, 5):
        pixels = noise(count)
        scores = compiled({"images": pixels})["probabilities"]
        wanted = export_run.fitted_network().predict_on_batch(pixels)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_folder_has_the_documented_names_and_shapes():
    assert {path.name for path in artefact().iterdir()} == {"model.xml", "model.bin"}
    model = read()
    assert str(model.input("images").get_partial_shape()) == "[?,32,32,3]"
    assert str(model.output("probabilities").get_partial_shape()) == "[?,4]"


def test_weights_stay_float32():
    """`save_model` compresses them to 16 bits by default."""
    constants = [op for op in read().get_ops() if op.get_type_name() == "Constant"]
    assert {op.get_element_type().get_type_name() for op in constants} >= {"f32"}
    assert "f16" not in (artefact() / "model.xml").read_text()


def test_runtime_information_has_labels_and_preprocessing():
    section = {key: read().get_rt_info(["model_info", key]).value for key in KEYS}
    assert section["model_type"] == "Classification"
    assert section["labels"].split() == list(export_run.LABELS)
    assert json.loads(section["preprocessing"])["image_size"] == 32


def test_spaces_in_labels_become_underscores():
    source = export_run.source(export_run.fitted_network())
    labels = ("giant panda", "tabby  cat", "a", "b")
    info = writer._model_info(dataclasses.replace(source, labels=labels))
    assert info["labels"] == "giant_panda tabby_cat a b"


def test_no_telemetry_is_sent():
    onnx_file, _ = artefacts.written(onnx.write, "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", CONVERT_WITHOUT_NETWORK, str(onnx_file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "False"], done.stderr


def test_runner_has_one_thread():
    compiled = runners_onnx.open_openvino(artefact())
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1


def test_models_are_not_pinned_to_the_same_core():
    compiled = runners_onnx.open_openvino(artefact())
    assert not compiled.get_property("ENABLE_CPU_PINNING")


def test_openers_accept_a_number_of_threads():
    onnx_file, _ = artefacts.written(onnx.write, "model.onnx")
    options = runners_onnx.open_onnx(onnx_file, 2).get_session_options()
    assert options.intra_op_num_threads == 2
    compiled = runners_onnx.open_openvino(artefact(), 2)
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2


def test_runner_opens_the_xml_file_too():
    scores = runners_onnx.OpenVinoRunner(artefact() / "model.xml")(noise(2))
    folder = runners_onnx.OpenVinoRunner(artefact())(noise(2))
    np.testing.assert_array_equal(scores, folder)


@pytest.mark.parametrize("broken", ["model.bin", "model.xml"])
def test_rejects_a_missing_weight_file(broken, tmp_path):
    shutil.copytree(artefact(), tmp_path / "openvino")
    (tmp_path / "openvino" / broken).unlink()
    with pytest.raises(ValueError, match=r"an .xml file with .* Received: .*model.xml"):
        runners_onnx.OpenVinoRunner(tmp_path / "openvino")


def test_error_for_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"openvino .*efficientnet-keras\[openvino\]"):
        extras.require_openvino()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetLite0"])
def test_complete_networks_are_converted_correctly(name, tmp_path):
    model = getattr(keras_efficientnet, name)(weights=None)
    writer.write(export_run.source(model), tmp_path / "openvino")
    pixels = noise(2, 224)
    scores = runners_onnx.OpenVinoRunner(tmp_path / "openvino")(pixels)
    # Relative, because with random weights all classes are about equally likely.
    np.testing.assert_allclose(scores, model.predict_on_batch(pixels), rtol=1e-3)
