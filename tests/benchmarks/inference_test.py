import keras
import numpy as np
import pytest

from benchmarks import inference
from export.formats import tflite


def test_ratio_is_the_median_over_rounds():
    # A slow round changes nothing, whether it slows both contenders or one.
    assert inference.median_ratio([(1, 2), (10, 20), (9, 2)]) == 0.5


def test_verdict_compares_the_contenders_that_ran():
    found = {"float32": [10.0, 12.0], "int8": [5.0, 6.0], "onnx": [8.0, 9.6]}
    assert inference.verdict("lite0", found) == [
        "  float32 / onnx 1.25 (bar: at most 1.05)",
        "  int8 / float32 0.50 (bar: at most 0.45)",
    ]


def test_verdict_omits_bars_of_other_networks():
    found = {name: [1.0] for name in inference.OPENERS}
    lines = "\n".join(inference.verdict("lite0", found))
    assert "keras" not in lines
    assert "torch" not in lines


@pytest.fixture
def folder(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    (tmp_path / inference.FILES["float32"]).write_bytes(tflite.convert(model, 8))
    return tmp_path


def test_run_goes_from_pixels_to_probabilities(folder):
    run = inference.litert(folder / inference.FILES["float32"])
    np.testing.assert_allclose(run(), np.full((1, 3), 1 / 3), rtol=1e-6)


def test_worker_returns_milliseconds(folder):
    worker = inference.start("float32", folder, core=0)
    assert 0 < worker.ask(3) < 1000
    worker.stop()


def test_detects_missing_torch(tmp_path):
    assert not inference.has_torch(str(tmp_path / "python"))


def test_error_names_the_contender_that_stopped(tmp_path):
    worker = inference.start("float32", tmp_path, core=0)
    with pytest.raises(RuntimeError, match="to see why: .* --worker=float32"):
        worker.ask(1)
    worker.stop()
