import time

import numpy as np

from export import latency
from keras_efficientnet.cost import tflite_latency


class Slow:
    input_shape = (32, 32, 3)
    classes = 1
    calls = 0

    def __call__(self, images):
        assert images.shape == (1, 32, 32, 3)
        self.calls += 1
        time.sleep(0.01 if self.calls != 5 else 0.5)
        return np.ones((1, 1), np.float32)


def test_median_ignores_one_slow_run():
    found = latency.measure_runner(Slow(), 32)
    assert 10 <= found.median_ms < 100
    assert found.median_ms <= found.p95_ms < 500


def test_slow_network_is_run_three_times(monkeypatch):
    monkeypatch.setattr(tflite_latency, "MAX_SECONDS", 0.0)
    runner = Slow()
    latency.measure_runner(runner, 32)
    assert runner.calls == tflite_latency.WARM_UP + 3
