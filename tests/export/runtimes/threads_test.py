"""Thread safety of runners."""

import concurrent.futures

import numpy as np
import pytest

from export import loading
from tests.support import export_run

NAMES = (
    *("", "export/saved_model", "export/model.onnx", "export/openvino"),
    *("export/model_float32.tflite", "export/model_int8.tflite"),
    *("export/model_int8.onnx", "export/openvino_int8"),
)
THREADS, CALLS = 4, 40


@pytest.mark.parametrize("name", NAMES)
def test_each_thread_gets_the_outputs_for_its_images(name):
    export_run.exported()
    runner = loading.load(export_run.run_folder() / name).runner
    rng = np.random.default_rng(0)
    batches = rng.uniform(0, 255, (CALLS, 1, 32, 32, 3)).astype(np.float32)
    batches *= np.linspace(0.1, 1, CALLS, dtype=np.float32)[:, None, None, None, None]
    expected = [runner(batch) for batch in batches]
    assert len({answer.tobytes() for answer in expected}) > CALLS / 4
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(runner, batches))
    np.testing.assert_allclose(found, expected, atol=1e-6)
