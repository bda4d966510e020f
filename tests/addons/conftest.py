"""Tests for the environment of TensorFlow Addons, which `make test-addons` makes."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # importing it tells of its end
    import tensorflow_addons as tensorflow_addons
