"""Helpers for tests of hostile files: a file to edit, and checks of its rejection."""

import signal
import tracemalloc

import h5py
import pytest

from keras_efficientnet.weights.formats import reading

MEMORY_BYTES = 100 << 20
SECONDS = 30


def refuse(path, reason, is_verified=True):
    """Reads a file and checks that it is rejected with an error matching `reason`."""

    def too_long(*_):
        raise AssertionError("reading hangs")

    former = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as caught:
            reading.read(path, [], is_verified=is_verified)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    assert path.name in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert not isinstance(caught.value.__cause__, MemoryError)
    assert peak < MEMORY_BYTES


def hdf5_file(path, edit):
    """Writes legacy weights of one layer, whose kernel `edit` creates."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = [b"stem_conv"]
        group = file.create_group("stem_conv")
        group.attrs["weight_names"] = [b"kernel"]
        edit(group)
    return path
