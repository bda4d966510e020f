import errno
import warnings

import numpy as np
import pytest

from training.engine.checkpoints import Checkpoints


def arrays(value):
    return {
        "model/0": np.full((4, 3), value, np.float32),
        "model/1": np.array([value, 7], np.uint32),
        "step": np.array(value, np.int64),
    }


def save(saved, step, value=None):
    parts = arrays(step if value is None else value)
    return saved.save(step, {name: (lambda a=a: a) for name, a in parts.items()})


def restore(saved):
    found = {}
    assign = {n: (lambda a, n=n: found.update({n: a})) for n in arrays(0)}
    saved.restore(assign)
    return found


@pytest.fixture
def saved(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def check(found, value):
    for name, array in arrays(value).items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_restores_the_latest_and_keeps_a_limited_number(saved, tmp_path):
    assert restore(saved) == {}
    for step in (1, 20, 3000000000):  # more digits than the name has
        save(saved, step)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000020.npz", "step-3000000000.npz"]
    check(restore(saved), 3000000000)


def test_truncated_file_falls_back_to_the_previous_one(saved):
    save(saved, 1)
    path = save(saved, 2)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.warns(UserWarning, match="step-000000002.npz is damaged"):
            found = restore(saved)
        check(found, 1)


def test_flipped_bits_are_detected_or_harmless(saved):
    save(saved, 1)
    path = save(saved, 2)
    whole = bytearray(path.read_bytes())
    fallbacks = 0
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with warnings.catch_warnings(record=True, action="always") as warned:
            found = restore(saved)
        fallbacks += bool(warned)
        check(found, 1 if warned else 2)
    # Names, contents and their sums are most of the file; dates do not matter.
    assert fallbacks > len(whole) * 0.2


def test_damaged_file_assigns_nothing_and_is_an_error_if_it_is_the_only_one(saved):
    path = save(saved, 1)
    data = bytearray(path.read_bytes())
    data[data.index(np.uint32(7).tobytes(), 200)] ^= 1
    path.write_bytes(data)
    with (
        pytest.warns(UserWarning, match="wrong checksum of|Bad CRC"),
        pytest.raises(ValueError, match="Received: 1 damaged, in .*checkpoints"),
    ):
        saved.restore(dict.fromkeys(arrays(0), pytest.fail))


def test_rejects_a_file_with_other_arrays(saved):
    save(saved, 1)
    with (
        pytest.warns(UserWarning, match=r"the arrays of this run: \['ema/0'\]"),
        pytest.raises(ValueError, match="must hold an intact checkpoint"),
    ):
        saved.restore({"ema/0": pytest.fail, **dict.fromkeys(arrays(0), pytest.fail)})


def test_full_disk_loses_nothing(saved, monkeypatch, tmp_path):
    save(saved, 1)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="step-000000002.npz could not be written: No sp"):
        save(saved, 2)
    monkeypatch.undo()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    check(restore(saved), 1)
