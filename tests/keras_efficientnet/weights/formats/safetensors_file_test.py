import json
import struct
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from keras_efficientnet.weights.formats import reading


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
def test_reads_every_type_exactly(tmp_path, dtype):
    made = {"a": np.array([[0, 1, 2], [3, 4, 1]], dtype), "b": np.array(3, dtype)}
    safetensors.numpy.save_file(made, tmp_path / "x")
    read = reading.read(tmp_path / "x", [])
    assert read.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def content(dtype="BF16", offsets=(0, 4), data=b"\x80\x3f\x00\xc0"):
    header = {"a": {"dtype": dtype, "shape": [2], "data_offsets": offsets}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_converts_bfloat16_to_float32(tmp_path):
    (tmp_path / "x").write_bytes(content())
    np.testing.assert_array_equal(reading.read(tmp_path / "x", [])["a"], [1, -2])


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (content("F8_E4M3", (0, 2), bytes(2)), "must hold numbers, not F8_E4M3"),
        (content("F32"), "x cannot be read as safetensors"),
        (content(offsets=(4, 8)), "x cannot be read as safetensors"),
        (content()[:-1], "x cannot be read as safetensors"),
        (content()[:20], "x cannot be read as safetensors"),
        (b"\xff" * 8 + content()[8:], "x cannot be read as safetensors"),
        (content().replace(b'"shape"', b'"shapo"'), "x cannot be read as safetensors"),
    ],
)
def test_rejects_damaged_files(tmp_path, damaged, reason):
    (tmp_path / "x").write_bytes(damaged)
    with pytest.raises(ValueError, match=reason):
        reading.read(tmp_path / "x", [])


def test_names_the_extra_if_the_library_is_missing(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(content())
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"efficientnet-keras\[safetensors\]"):
        reading.read(tmp_path / "x", [])
