"""Reader of PyTorch's `.pth` and `.pt` files, without torch and without executing code.

Such a file contains a pickle, which in Python can call any function of any module. Here
it can only call the few stand-ins below, which record the description of a tensor.
Other objects, such as the options of a training script, are never created: an opaque
stand-in replaces them. The numbers are stored next to the pickle.

Source: torch/serialization.py (layouts), torch/_utils.py (arguments of the calls).
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickle
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import open_regular, read_regular
from . import unpickle
from .base import Arrays, bfloat16_to_float32, check_total, open_zip, read_entry

_PROTOCOL_VERSION = 1001
_MAX_DIMENSIONS = 8
_LARGEST = 1 << 48  # offset, size or stride

# NumPy type of each storage class on disk, without the byte order.
_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Keys under which training scripts store the weights, in order of preference.
_AVERAGES = ("state_dict_ema", "model_ema")
_ADVICE = "`torch.save(model.state_dict(), path)` writes a dict of tensors"
_RAW = ("state_dict", "model_state_dict", "model")


def read(path: Path, ema: bool = True) -> Arrays:
    """Reads the tensors of a state dict saved by any version of torch.

    The state dict can be nested in a dict ("state_dict", "model" ...). The prefix
    "module." of data-parallel training is removed.

    Args:
        path: Path of the file.
        ema: Whether to prefer averaged weights to raw ones.

    Returns:
        Arrays by their names in the file; bfloat16 is converted to float32.

    Raises:
        ValueError: The file is damaged, or holds anything other than plain tensors.
    """
    with open_regular(path) as stream:
        is_zip = stream.read(2) == b"PK"
    load = _load_zip if is_zip else _load_legacy
    content, storages = load(path)
    wrappers = (*_AVERAGES, *_RAW) if ema else (*_RAW, *_AVERAGES)
    tensors = _state_dict(content, wrappers)
    prefix = "module."
    if all(name.startswith(prefix) for name in tensors):
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
    check_total(map(_nbytes, tensors.values()), path)
    return {name: _to_array(t, storages) for name, t in tensors.items()}


@dataclasses.dataclass(frozen=True)
class _Storage:
    kind: str  # key of _DTYPES
    key: str
    numel: int
    start: int = 0  # offset in the storage `key` that it is a view of, elements


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int  # elements
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


@dataclasses.dataclass(frozen=True)
class _Bytes:
    data: bytes | memoryview
    order: str  # "<" or ">"


class _Dict(dict):
    def set_state(self, state: Any) -> None:
        """Drops the `_metadata` that torch attaches to its state dicts."""


class _StandIn:
    """Callable stand-in for a global name in the pickle."""

    def __init__(self, name: str, function: Callable[..., Any] | None = None) -> None:
        self.name = name
        self._function = function

    def __call__(self, *args: Any) -> Any:
        if self._function is None:
            raise pickle.UnpicklingError(f"it calls {self.name}")
        return self._function(*args)


def _make_dict() -> _Dict:
    return _Dict()


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any
) -> _Tensor:
    del unused  # requires_grad, hooks, metadata
    sizes = all(isinstance(n, tuple) for n in (shape, strides))
    if not isinstance(storage, _Storage) or not sizes or len(shape) != len(strides):
        raise pickle.UnpicklingError("it describes a tensor in an unknown way")
    if len(shape) > _MAX_DIMENSIONS:
        raise pickle.UnpicklingError(f"it has a tensor of {len(shape)} dimensions")
    numbers = (offset, *shape, *strides)
    if not all(map(_is_size, numbers)):
        raise pickle.UnpicklingError(
            f"it describes a tensor by {reprlib.repr(numbers)}"
        )
    return _Tensor(storage, offset, shape, strides)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number <= _LARGEST


def _rebuild_parameter(data: Any, *unused: Any) -> Any:
    del unused  # requires_grad, hooks
    return data


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _make_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
# These functions would not be called anyway, but a file that refers to one is
# malicious, and the user should know.
_HARMFUL = re.compile(
    r"(builtins|__builtin__)\.(__import__|compile|eval|exec|execfile|open|input)"
    r"|(os|posix|nt|subprocess|commands|pty|runpy|shutil|socket|sys|importlib|ctypes"
    r"|code|webbrowser|pickle|marshal|torch\.hub)\..*"
    r"|torch\.(load|jit\.load)"
)


class _Pickle:
    """One pickle of a file: its object and the storages that it refers to."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.kinds: dict[str, str] = {}  # storage key -> type
        self.content = unpickle.load(stream, _find_global, self._find_storage)

    def _find_storage(self, pid: Any) -> _Storage:
        # ("storage", class, key, device, elements[, (view key, start, elements)])
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError(f"it refers to {reprlib.repr(pid)} as data")
        kind, key, numel = pid[1], pid[2], pid[4]
        view = pid[5] if len(pid) > 5 else None
        if view is not None and (not isinstance(view, tuple) or len(view) != 3):
            raise pickle.UnpicklingError("it has a malformed reference to a storage")
        start, numel = (0, numel) if view is None else view[1:]
        if not isinstance(kind, _StandIn) or kind.name not in _DTYPES:
            raise pickle.UnpicklingError("it refers to a storage of unknown type")
        if type(key) not in (str, int) or not _is_size(start) or not _is_size(numel):
            raise pickle.UnpicklingError(
                f"it refers to a storage as {reprlib.repr(pid[2:])}"
            )
        if self.kinds.setdefault(str(key), kind.name) != kind.name:
            raise pickle.UnpicklingError(f"it refers to storage {key!r} as two types")
        return _Storage(kind.name, str(key), numel, start)


def _find_global(name: str) -> _StandIn | unpickle.Opaque:
    if name in _CALLS:
        return _StandIn(name, _CALLS[name])
    module, _, kind = name.rpartition(".")
    if module in ("torch", "torch.storage") and kind in _DTYPES:
        return _StandIn(kind)
    if _HARMFUL.fullmatch(name):
        raise pickle.UnpicklingError(
            f"it refers to {name:.100}, which no weight file needs; do not trust its "
            "origin"
        )
    return unpickle.Opaque(name)


def _load_zip(path: Path) -> tuple[Any, dict[str, _Bytes]]:
    with open_zip(path) as archive:
        names = archive.namelist()
        pickled = next(name for name in names if name.split("/")[-1] == "data.pkl")
        root = pickled.removesuffix("data.pkl")
        order = "<"
        if f"{root}byteorder" in names:
            big = read_entry(archive, f"{root}byteorder").strip() == b"big"
            order = ">" if big else "<"
        content = _Pickle(io.BytesIO(read_entry(archive, pickled))).content
        folder = f"{root}data/"
        storages = {
            name.removeprefix(folder): _Bytes(read_entry(archive, name), order)
            for name in names
            if name.startswith(folder)
        }
    return content, storages


def _load_legacy(path: Path) -> tuple[Any, dict[str, _Bytes]]:
    # Reads of a BytesIO stop at its end, whatever size the pickle claims.
    data = read_regular(path)
    stream = io.BytesIO(data)
    _Pickle(stream)  # the magic number, checked before
    version = _Pickle(stream).content
    if version != _PROTOCOL_VERSION:
        raise ValueError(
            f"its protocol must be {_PROTOCOL_VERSION}, not {reprlib.repr(version)}"
        )
    _Pickle(stream)  # machine information; the data are little-endian
    pickled = _Pickle(stream)
    content, kinds = pickled.content, pickled.kinds
    keys = _Pickle(stream).content
    if not isinstance(keys, list):
        raise ValueError("its list of storages is malformed")
    storages: dict[str, _Bytes] = {}
    for key in keys:
        numel = int.from_bytes(stream.read(8), "little")
        start = stream.tell()
        kind = kinds.get(str(key)) if type(key) in (str, int) else None
        if kind is None:
            raise ValueError(f"its storage {reprlib.repr(key)} belongs to no tensor")
        end = start + numel * np.dtype(_DTYPES[kind]).itemsize
        if end > len(data):
            raise ValueError(
                f"it ends {end - len(data)} bytes before the storage {key!r} does"
            )
        storages[str(key)] = _Bytes(memoryview(data)[start:end], "<")
        stream.seek(end)
    return content, storages


def _state_dict(content: Any, wrappers: tuple[str, ...]) -> dict[str, _Tensor]:
    if isinstance(content, dict):
        # First, because metrics such as `best_acc1` can be tensors, too.
        for key in wrappers:
            if isinstance(content.get(key), dict):
                return _state_dict(content[key], wrappers)
        tensors = {str(k): v for k, v in content.items() if isinstance(v, _Tensor)}
        if tensors:
            return tensors
        first = list(content.items())[:5]
        held = ", ".join(_described(key, value) for key, value in first)
        raise ValueError(f"its dict holds no tensors, only {held or None}. {_ADVICE}")
    kind = content.name if isinstance(content, unpickle.Opaque) else None
    raise ValueError(
        f"it must hold a dict of tensors, not a {kind or type(content).__name__}. "
        f"{_ADVICE}"
    )


def _described(key: Any, value: Any) -> str:
    kind = f" ({value.name:.100})" if isinstance(value, unpickle.Opaque) else ""
    return f"{reprlib.repr(key)}{kind}"


def _nbytes(tensor: _Tensor) -> int:
    return math.prod(tensor.shape) * np.dtype(_DTYPES[tensor.storage.kind]).itemsize


def _to_array(tensor: _Tensor, storages: dict[str, _Bytes]) -> np.ndarray:
    storage = tensor.storage
    if storage.key not in storages:
        raise ValueError(f"its storage {storage.key!r} is missing; it may be truncated")
    raw = storages[storage.key]
    dtype = np.dtype(raw.order + _DTYPES[storage.kind])
    flat = np.frombuffer(raw.data, dtype, count=len(raw.data) // dtype.itemsize)
    flat = flat[storage.start :][: storage.numel]
    spans = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in spans)
    count = math.prod(tensor.shape)
    if len(flat) < storage.numel or count > len(flat) or (count and last >= len(flat)):
        raise ValueError(
            f"its tensor of shape {tensor.shape} lies outside its storage "
            f"{storage.key!r} of {len(flat)} elements; it may be truncated"
        )
    view = np.lib.stride_tricks.as_strided(
        flat[tensor.offset :] if count else flat[:0],
        tensor.shape,
        tuple(stride * dtype.itemsize for stride in tensor.strides),
    )
    array = np.array(view, dtype.newbyteorder("="), order="C")
    return bfloat16_to_float32(array) if storage.kind == "BFloat16Storage" else array
