"""Tests that run in the environment of `make test-addons`."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # the end of its support
    import tensorflow_addons as tensorflow_addons
