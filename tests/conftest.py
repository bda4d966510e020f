import gc
import importlib.util
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest

import keras_efficientnet
from tests.support import shared

# Those tests are for an environment of their own: `make test-addons`.
if importlib.util.find_spec("tensorflow_addons") is None:
    collect_ignore = ["addons"]


def pytest_collection_finish(session):
    """Keeps TensorFlow's modules out of all later garbage collections."""
    gc.freeze()


def pytest_unconfigure(config):
    """Removes what the processes of a run share, when the last of them has ended."""
    shared.remove()


@pytest.fixture(scope="session")
def tiny():
    """A network with every kind of layer, small enough to build in a second.

    Tests must not change it.
    """
    return keras_efficientnet.EfficientNet(0.25, 0.3, 32, classes=4)


@pytest.fixture
def policy():
    """Sets the dtype policy for one test."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")
