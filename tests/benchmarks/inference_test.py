import json
import threading

import keras
import numpy as np
import pytest

from benchmarks import inference
from benchmarks.runtimes import contenders, results
from export.formats import tflite


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with a .tflite file that returns the channels' softmax."""
    inputs = keras.Input((contenders.SIZE, contenders.SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    (tmp_path / contenders.FILES["tflite"]).write_bytes(
        tflite.convert(model, contenders.SIZE)
    )
    return tmp_path


def test_run_goes_from_pixels_to_probabilities(folder):
    run = contenders.open_tflite(folder / contenders.FILES["tflite"], 1)
    pixels = np.full((2, contenders.SIZE, contenders.SIZE, 3), 99, np.float32)
    np.testing.assert_allclose(run(pixels), np.full((2, 3), 1 / 3), rtol=1e-6)


def test_contenders_answer_with_milliseconds_in_turns(folder, monkeypatch):
    monkeypatch.setattr(inference, "RUN_MS", 0)
    worker = inference.start("tflite", folder, 1)
    found = inference.take_turns({"tflite": worker}, images=2, rounds=3)
    worker.stop()
    assert [len(times) for times in found["tflite"]] == [1, 1, 1]
    assert all(0 < ms < 1000 for times in found["tflite"] for ms in times)


def test_clients_run_at_once():
    barrier = threading.Barrier(2, timeout=10)
    run = contenders._run_at_once([lambda x: barrier.wait() >= 0] * 2)
    assert run("an image") == [True, True]


def test_names_the_reason_why_a_contender_is_missing(folder, monkeypatch):
    monkeypatch.setattr(results, "REFERENCE", "tflite")
    missing = {"keras": "known before"}
    names = ("keras", "tflite", "tflite_int8", "torch")
    nowhere = str(folder / "python")
    workers = inference.start_all(names, folder, 1, missing, torch_python=nowhere)
    assert list(workers) == ["tflite"]
    workers["tflite"].stop()
    assert missing["keras"] == "known before"
    assert "model_int8.tflite" in missing["tflite_int8"], missing
    assert missing["torch"] == f"there is no {nowhere}"


def test_rejects_a_run_without_the_contender_that_ratios_need(folder):
    missing = {"onnx": "No module named 'onnxruntime'"}
    with pytest.raises(ValueError, match=r"onnx must be .* Received: .*onnxruntime"):
        inference.start_all(["onnx"], folder, 1, missing)


def test_error_names_the_contender_that_stopped(tmp_path):
    worker = inference.start("tflite", tmp_path, 1)
    with pytest.raises(RuntimeError, match=r"see why: echo '\[1, 2\]' .* tflite"):
        worker.request([1, 2])
    worker.stop()


def test_page_shows_the_committed_results():
    found = json.loads(inference.COMMITTED.read_text())
    page = inference.PAGE.read_text()
    assert results.replace_tables(page, results.format_tables(found)) == page
