import argparse
import collections
import contextlib
import datetime
import enum
import functools
import io
import pathlib
import pickle
import sys
import zipfile

import numpy as np
import pytest

from keras_efficientnet.weights.formats import reading
from tests.support.weight_files import torch_files
from tests.support.weight_files.torch_files import (
    NUMPY_TYPES,
    Call,
    Parameter,
    Storage,
    Tensor,
    fake_torch,
    tensor,
)


@pytest.fixture
def save(tmp_path):
    """Returns a function that writes files like `torch.save`."""

    def write(content, layout, order="<"):
        return torch_files.write(tmp_path / f"{layout}.pth", content, layout, order)

    return write


layouts = pytest.mark.parametrize("layout", ["legacy", "zip"])


@layouts
@pytest.mark.parametrize("kind", NUMPY_TYPES)
def test_reads_every_type_exactly(save, layout, kind):
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 2**16, (3, 4, 5)).astype(NUMPY_TYPES[kind])
    path = save({"a": tensor("7", expected, kind)}, layout)
    (array,) = reading.read(path, []).values()
    if kind == "BFloat16Storage":
        assert array.dtype == np.float32
        bits = array.view(np.uint32)
        np.testing.assert_array_equal(bits >> 16, expected)
        assert not np.any(bits & 0xFFFF)
    else:
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@layouts
def test_reads_views_of_one_storage(save, layout):
    numbers = np.arange(24, dtype=np.float32)
    whole = Storage("0", "FloatStorage", numbers)
    path = save(
        {
            "rows": Tensor(whole, (2, 3), (3, 1), offset=6),
            "transposed": Tensor(whole, (3, 2), (1, 3), offset=6),
            "scalar": Tensor(whole, (), (), offset=23),
            "none": Tensor(whole, (0, 4), (4, 1)),
            "strided": Tensor(whole, (4,), (6,), offset=5),
            "empty": Tensor(Storage("1", "FloatStorage", numbers[:0]), (0,), (1,)),
        },
        layout,
    )
    arrays = reading.read(path, [])
    np.testing.assert_array_equal(arrays["rows"], numbers[6:12].reshape(2, 3))
    np.testing.assert_array_equal(arrays["transposed"], arrays["rows"].T)
    assert arrays["scalar"] == 23
    assert arrays["none"].shape == (0, 4)
    assert arrays["empty"].shape == (0,)
    np.testing.assert_array_equal(arrays["strided"], [5, 11, 17, 23])


def test_reads_a_storage_that_is_a_view(save):
    numbers = np.arange(10, dtype=np.float32)
    view = Storage("0", "FloatStorage", numbers, view=("1", 4, 5))
    path = save({"a": Tensor(view, (2,), (1,), offset=1)}, "legacy")
    np.testing.assert_array_equal(reading.read(path, [])["a"], [5, 6])
    path = save({"a": Tensor(view, (2,), (1,), offset=4)}, "legacy")
    with pytest.raises(ValueError, match="outside its storage"):
        reading.read(path, [])


def test_reads_big_endian_files(save):
    expected = np.array([1.5, -2.5], np.float32)
    path = save({"a": tensor("0", expected)}, "zip", order=">")
    np.testing.assert_array_equal(reading.read(path, [])["a"], expected)


@layouts
def test_reads_the_checkpoint_of_a_training_script(save, layout):
    expected = np.arange(3, dtype=np.float32)
    state = collections.OrderedDict(
        {"module.a": Parameter(tensor("0", expected)), "module.b": tensor("1", [[1.0]])}
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    path = save({"epoch": 3, "state_dict": state, "note": "x"}, layout)
    arrays = reading.read(path, [])
    assert list(arrays) == ["a", "b"]
    np.testing.assert_array_equal(arrays["a"], expected)


@layouts
def test_metrics_beside_the_weights_can_be_tensors(save, layout):
    one = np.float32([1.0])
    state = {"module.a": tensor("0", one), "module.b": tensor("1", one)}
    content = {"best_acc1": tensor("2", one), "state_dict": state, "arch": "x"}
    assert list(reading.read(save(content, layout), [])) == ["a", "b"]


def test_prefers_averaged_weights(save):
    raw, ema = ({"a": tensor(key, np.float32([value]))} for key, value in ("01", "12"))
    path = save({"state_dict": raw, "state_dict_ema": ema}, "zip")
    assert reading.read(path, [])["a"] == 2


@layouts
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (__import__("os").system, "touch {}", r"(posix|nt)\.system"),
        (eval, "open({!r}, 'w')", r"__builtin__\.eval"),
        (exec, "open({!r}, 'w')", r"__builtin__\.exec"),
    ],
)
def test_rejects_code_by_name_without_running_it(
    save, tmp_path, layout, function, argument, name
):
    touched = tmp_path / "touched"
    content = {
        "a": tensor("0", np.float32([1])),
        "b": Call(function, argument.format(str(touched))),
    }
    path = save(content, layout)
    with pytest.raises(ValueError, match=rf"{path.name}.*refers to {name}"):
        reading.read(path, [])
    assert not touched.exists()


class Phase(enum.Enum):
    TRAIN = "train"


# Objects that timm's train.py, Lightning and others save beside the weights.
BESIDE = {
    "args": argparse.Namespace(lr=0.1, model="efficientnet_b0", scale=[0.08, 1.0]),
    "counter": collections.Counter({1: 2, "b": 3}),
    "metric": np.float64(77.5),
    "best": np.float32([1, 2]),
    "folder": pathlib.Path("runs/1"),
    "groups": collections.defaultdict(list, {"a": [1]}),
    "names": {"a", "b"},
    "phase": Phase.TRAIN,
    "partial": functools.partial(max, 1),
    "when": datetime.datetime(2026, 1, 1),
    "bytes": b"abc",
    "complex": 1j,
    "list of them": [argparse.Namespace(a=argparse.Namespace(b=1))] * 2,
}


@layouts
@pytest.mark.parametrize("key", BESIDE)
def test_skips_objects_beside_the_weights(save, layout, key):
    one, two = np.float32([1]), np.float32([[2]])
    state = {"module.a": tensor("0", one), "module.b": tensor("1", two)}
    content = {"epoch": 3, key: BESIDE[key], "state_dict": state, "again": BESIDE[key]}
    path = save(content, layout)
    arrays = reading.read(path, [])
    assert {name: array.item() for name, array in arrays.items()} == {"a": 1, "b": 2}


@layouts
def test_skips_any_call_without_running_it(save, layout, tmp_path):
    """Safety does not rest on a list of names: nothing in a file is ever called."""
    touched = tmp_path / "touched"
    content = {
        "a": tensor("0", np.float32([1])),
        "b": Call(pathlib.Path.touch, touched),
        "c": Call(getattr, touched, "touch"),
    }
    assert list(reading.read(save(content, layout), [])) == ["a"]
    assert not touched.exists()


@layouts
def test_rejects_weights_that_are_an_unknown_object(save, layout):
    path = save({"state_dict": argparse.Namespace(a=1), "epoch": 1}, layout)
    with pytest.raises(
        ValueError, match=r"no tensors, only 'state_dict' \(argparse.Namespace\)"
    ):
        reading.read(path, [])
    with pytest.raises(ValueError, match="dict of tensors, not a argparse.Namespace"):
        reading.read(save(argparse.Namespace(a=1), layout), [])


@layouts
def test_rejects_pickled_models_by_their_class(save, layout):
    path = save({"model": zipfile.Path}, layout)
    with pytest.raises(ValueError, match=r"zipfile\.Path.*state_dict"):
        reading.read(path, [])


@layouts
def test_tensors_cannot_be_changed_after_the_check(save, layout):
    forged = tensor("0", np.float32([1, 2]))
    forged.state = {"strides": (-1000,)}
    with pytest.raises(ValueError, match="it changes _Tensor"):
        reading.read(save({"a": forged}, layout), [])


@layouts
def test_storage_classes_cannot_be_called(save, layout, monkeypatch):
    for name, module in fake_torch().items():
        monkeypatch.setitem(sys.modules, name, module)
    content = {"a": Call(sys.modules["torch"].FloatStorage)}
    stream = io.BytesIO()
    pickle.dump(content, stream, protocol=2)
    path = save({"a": tensor("0", np.float32([1]))}, layout)
    data = path.read_bytes()
    if layout == "legacy":
        start = data.index(b"}q\x00X\x01\x00\x00\x00a")
        path.write_bytes(data[: start - 2] + stream.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", stream.getvalue())
    with pytest.raises(ValueError, match="it calls FloatStorage"):
        reading.read(path, [])


@layouts
@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((9,), (1,), 0), ((4,), (1,), 5), ((2, 2), (8, 1), 0), ((100, 100), (0, 0), 0)],
)
def test_rejects_tensors_outside_their_storage(save, layout, shape, strides, offset):
    storage = Storage("0", "FloatStorage", np.zeros(8, np.float32))
    path = save({"a": Tensor(storage, shape, strides, offset)}, layout)
    with pytest.raises(ValueError, match="outside its storage '0' of 8 elements"):
        reading.read(path, [])


@layouts
@pytest.mark.parametrize("shape", [(-1,), (1.5,), ("a",), (1 << 60,)])
def test_rejects_malformed_shapes(save, layout, shape):
    storage = Storage("0", "FloatStorage", np.zeros(8, np.float32))
    with pytest.raises(ValueError, match="describes a tensor by"):
        reading.read(save({"a": Tensor(storage, shape, (1,))}, layout), [])


@layouts
def test_rejects_content_without_tensors(save, layout):
    with pytest.raises(ValueError, match="holds no tensors, only 'epoch'"):
        reading.read(save({"epoch": 1}, layout), [])
    with pytest.raises(ValueError, match="must hold a dict of tensors, not a list"):
        reading.read(save([1], layout), [])


@layouts
def test_every_truncation_is_reported(save, layout):
    path = save({"a": tensor("0", np.arange(50, dtype=np.float32))}, layout)
    data = path.read_bytes()
    for size in range(0, len(data) - 22, 7):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=path.name):
            reading.read(path, [])


@layouts
def test_damage_raises_value_error_or_is_harmless(save, layout):
    path = save({"a": tensor("0", np.arange(9, dtype=np.float32))}, layout)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            reading.read(path, [])


def test_rejects_an_archive_with_a_missing_storage(save):
    path = save({"a": tensor("0", np.float32([1]))}, "zip")
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read("archive/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    with pytest.raises(ValueError, match="storage '0' is missing"):
        reading.read(path, [])


@layouts
@pytest.mark.parametrize("put", [b"r\xff\xff\xff\xff", b"p99999999999\n"])
def test_large_memo_indices_do_not_allocate_memory(save, layout, put):
    path = save({"a": tensor("0", np.float32([1]))}, layout)
    bomb = b"\x80\x02N" + put + b"."
    if layout == "legacy":
        magic = path.read_bytes()[:15]
        path.write_bytes(magic + bomb)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", bomb)
    with pytest.raises(ValueError, match="uses PUT|NoneType|protocol must be"):
        reading.read(path, [])


def test_rejects_an_entry_that_expands_too_much(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(ValueError, match="would expand from"):
        reading.read(path, [])
