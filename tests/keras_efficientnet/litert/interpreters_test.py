"""Interpreters in parallel threads, with fake interpreters."""

import threading

import numpy as np
import pytest

from keras_efficientnet.litert.interpreters import InterpreterPool


class Doubling:
    """Interpreter that doubles its input."""

    def __init__(self, barrier=None):
        self._barrier = barrier

    def get_input_details(self):
        return [{"index": 0}]

    def get_output_details(self):
        return [{"index": 1}]

    def set_tensor(self, index, values):
        assert index == 0
        self._values = values

    def invoke(self):
        if self._barrier:
            self._barrier.wait()
        self._values = 2 * self._values

    def get_tensor(self, index):
        assert index == 1
        return self._values


@pytest.mark.parametrize("size", [1, 3])
def test_outputs_have_the_order_of_the_inputs(size):
    pool = InterpreterPool(Doubling, size)
    inputs = [np.array([i]) for i in range(20)]
    np.testing.assert_array_equal(pool(inputs), [[2 * i] for i in range(20)])


def test_interpreters_compute_at_the_same_time():
    barrier = threading.Barrier(3, timeout=10)  # passes only when three compute
    pool = InterpreterPool(lambda: Doubling(barrier), 3)
    inputs = [np.array([i]) for i in range(6)]
    np.testing.assert_array_equal(pool(inputs), [[2 * i] for i in range(6)])


def test_interpreter_is_used_again_after_an_error():
    pool = InterpreterPool(Doubling)
    with pytest.raises(TypeError):
        pool([None])
    np.testing.assert_array_equal(pool([np.array([1])]), [[2]])
