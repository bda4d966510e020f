import sys

import numpy as np
import pytest

from keras_efficientnet.weights.formats import base, hdf5_sandbox, reading
from tests.support.paths import DATA
from tests.support.weight_files.refusing import hdf5_file, refuse


def missing(group):
    del group


def test_sandbox_returns_the_same_arrays(tmp_path):
    def edit(group):
        group["kernel"] = np.arange(6.0).reshape(1, 2, 3)
        group["bias"] = np.float16(1.5)
        group["empty"] = np.zeros((0, 3), np.int8)
        group["flag"] = np.array([True, False])
        names = ("kernel", "bias", "empty", "flag")
        group.attrs["weight_names"] = [name.encode() for name in names]

    path = hdf5_file(tmp_path / "net.h5", edit)
    apart = reading.read(path, [])
    here = reading.read(path, [], is_verified=True)
    assert list(apart) == list(here)
    for name, array in here.items():
        np.testing.assert_array_equal(apart[name], array)
        assert apart[name].dtype == array.dtype
        assert apart[name].shape == array.shape
        assert apart[name].flags.writeable


def test_sandbox_reports_the_same_errors(tmp_path):
    path = hdf5_file(tmp_path / "net.h5", missing)
    refuse(path, "in HDF5: .*has no member 'kernel'", is_verified=False)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "crashes on it"),
        ("print('not ours')", "crashes on it"),
        ('print(\'{"arrays": [["a", "<f4", [1000000000000]]]}\')', "crashes on it"),
        ('print(\'{"arrays": [["a", "O", [1]]]}\')', "crashes on it"),
        ('print(\'{"arrays": [["a", "<f4", [9]]]}\')', "crashes on it"),
        ("import time; time.sleep(600)", "hangs on it"),
    ],
)
def test_reports_a_process_that_crashes_or_hangs(
    tmp_path, monkeypatch, program, reason
):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(hdf5_sandbox, "__file__", str(tmp_path / "program.py"))
    monkeypatch.setattr(hdf5_sandbox, "_CPU_SECONDS", 0.25)
    refuse(hdf5_file(tmp_path / "net.h5", missing), reason, is_verified=False)


@pytest.mark.skipif(sys.platform != "linux", reason="has no limit on memory")
def test_reports_a_process_that_runs_out_of_memory(tmp_path, monkeypatch):
    def large(group):
        group["kernel"] = np.zeros(16 << 20, np.float32)

    path = hdf5_file(tmp_path / "net.h5", large)
    limit = (150 << 20) - 2 * base.total_bound(path.stat().st_size)
    monkeypatch.setattr(hdf5_sandbox, "_MEMORY_BYTES", limit)
    refuse(path, "Unable to allocate|Can't allocate|crashes on it", is_verified=False)


def test_reports_a_file_on_which_the_library_hangs(monkeypatch):
    # Found by the fuzzer with HDF5 1.14.6; another version may reject it.
    monkeypatch.setattr(hdf5_sandbox, "_CPU_SECONDS", 1)
    path = DATA / "hang.h5"
    refuse(path, "hangs on it|cannot be read", is_verified=False)
