"""The same answers and the same training on every backend of Keras.

Runs where KERAS_BACKEND says, and under Keras 2.15; the expected numbers are those of
TensorFlow, so there it only guards them.
"""

import sys

import keras
import numpy as np
import pytest

from keras_efficientnet import VARIANTS
from tests.support import backend_cases

BACKEND = keras.backend.backend()
# TensorFlow, where other tests build the whole family, needs only a few of it.
LARGE = VARIANTS.keys() - {"EfficientNetB0", "EfficientNetLite0"}


def mark(name):
    slow = name == backend_cases.HUGE or (BACKEND == "tensorflow" and name in LARGE)
    return pytest.param(name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("name", [mark(name) for name in backend_cases.CASES])
def test_backends_agree(name):
    with np.load(backend_cases.GOLDEN) as golden:
        expected = golden[name]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(backend_cases.CASES[name](), expected, atol=1e-4)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="it is the backend")
def test_tensorflow_is_not_needed():
    assert "tensorflow" not in sys.modules
