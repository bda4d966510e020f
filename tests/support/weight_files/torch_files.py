"""Files in the format of `torch.save`, written without torch."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from unittest import mock

import numpy as np

NUMPY_TYPES = {
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


class Storage:
    def __init__(self, key, kind, array, view=None):
        self.key, self.kind, self.array, self.view = key, kind, array, view


class Tensor:
    """Pickled form of a tensor: a call and a reference to its storage."""

    call = "_rebuild_tensor_v2"
    state = None

    def __init__(self, storage, shape, strides, offset=0):
        self.args = (storage, offset, shape, strides, False, collections.OrderedDict())


class Parameter(Tensor):
    call = "_rebuild_parameter"

    def __init__(self, tensor):
        self.args = (tensor, True, collections.OrderedDict())


class Call:
    """Call of an arbitrary function, which only malicious files contain."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def tensor(key, array, kind="FloatStorage"):
    array = np.ascontiguousarray(array)
    strides = tuple(s // array.itemsize for s in array.strides)
    return Tensor(Storage(key, kind, array.ravel()), array.shape, strides)


def fake_torch():
    """Returns modules whose functions and classes have torch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in NUMPY_TYPES:
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    return {"torch": torch, "torch._utils": utils}


class TorchPickler(pickle.Pickler):
    def __init__(self, stream, modules, legacy):
        super().__init__(stream, protocol=2)
        self.modules, self.legacy, self.storages = modules, legacy, {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages[obj.key] = obj.array
        kind = getattr(self.modules["torch"], obj.kind)
        pid = ("storage", kind, obj.key, "cpu", len(obj.array))
        return (*pid, obj.view) if self.legacy else pid

    def reducer_override(self, obj):
        if not isinstance(obj, Tensor):
            return NotImplemented
        function = getattr(self.modules["torch._utils"], obj.call)
        return (function, obj.args, obj.state) if obj.state else (function, obj.args)


def write(path, content, layout, order="<"):
    """Writes a file like `torch.save`."""
    stream = io.BytesIO()
    modules = fake_torch()
    with mock.patch.dict(sys.modules, modules):
        if layout == "legacy":
            pickle.dump(0x1950A86A20F9469CFC6C, stream, protocol=2)
            pickle.dump(1001, stream, protocol=2)
            pickle.dump({"little_endian": True}, stream, protocol=2)
        pickler = TorchPickler(stream, modules, layout == "legacy")
        pickler.dump(content)
    if layout == "legacy":
        pickle.dump(sorted(pickler.storages), stream, protocol=2)
        for key in sorted(pickler.storages):
            stream.write(struct.pack("<q", len(pickler.storages[key])))
            stream.write(pickler.storages[key].tobytes())
        path.write_bytes(stream.getvalue())
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", {"<": "little", ">": "big"}[order])
        for key, array in pickler.storages.items():
            data = array.astype(array.dtype.newbyteorder(order)).tobytes()
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return path
