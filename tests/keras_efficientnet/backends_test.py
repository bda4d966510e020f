"""Equal inference and training on every Keras backend.

Runs on the backend that KERAS_BACKEND selects, and under Keras 2.15. The expected
numbers were computed with TensorFlow, so on that backend this is a regression test.
"""

import sys

import keras
import numpy as np
import pytest

from keras_efficientnet import VARIANTS
from tests.support import backend_cases

BACKEND = keras.backend.backend()
# Other tests build all variants and train on TensorFlow, so a few are enough here.
LARGE = VARIANTS.keys() - {"EfficientNetB0", "EfficientNetLite0"} | {"fit"}


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
