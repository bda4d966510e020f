import pickle
import struct
import zipfile

import pytest

from keras_efficientnet.weights.formats import unpickle
from tests.support.weight_files.refusing import refuse


def torch_file(path, pickled, layout):
    """Writes a torch file that contains a given pickle."""
    if layout == "legacy":
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        start = b"".join(pickle.dumps(part, protocol=2) for part in head)
        path.write_bytes(start + pickled + pickle.dumps([], protocol=2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    return path


TUPLE1, TUPLE2, PUT_0, GET_0 = b"\x85", b"\x86", b"q\0", b"h\0"
DEEP = b")" + TUPLE1 * 20_000  # hashing or printing it crashes the process
WIDE = b")" + (PUT_0 + GET_0 + TUPLE2) * 60  # contains 2**60 tuples
HUGE = (
    b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000
)  # an integer of 8 million bits
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\1tQ"


def tensor_call(shape):
    return b"}X\1\0\0\0a" + TENSOR + b"(" + STORAGE + b"K\0" + shape + b")\x89}tRs."


PICKLES = {
    "deep key": (b"}" + DEEP + b"Ns.", "has a tuple as a key"),
    "wide key": (b"}" + WIDE + b"Ns.", "has a tuple as a key"),
    "keys": (b"}(" + WIDE + b"Nu.", "has a tuple as a key"),
    "huge key": (b"}" + HUGE + b"Ns.", "has a huge number as a key"),
    "set": (b"\x8f(" + WIDE + b"\x90.", "uses EMPTY_SET"),
    "deep content": (DEEP + b".", "must hold a dict of tensors, not a tuple"),
    "deep storage": (b"}X\1\0\0\0a" + DEEP + b"Qs.", "refers to .* as data"),
    "wide storage": (b"}X\1\0\0\0a" + WIDE + b"Qs.", "refers to .* as data"),
    "wide names": (b"}X\1\0\0\0a" + WIDE + b"s.", "holds no tensors"),
    "wide call": (b"ccollections\nOrderedDict\n" + WIDE + b"R.", "takes 0 positional"),
    "wide shape": (tensor_call(WIDE), "describes a tensor"),
    "huge shape": (tensor_call(HUGE + TUPLE1), "describes a tensor|limit"),
    "long shape": (tensor_call(b"(" + b"K\1" * 100_000 + b"t"), "unknown way|dimensi"),
    "long string": (b"X\xff\xff\xff\xffabc.", "expected 4294967295 bytes|negative"),
    "longer string": (b"\x8d" + b"\xff" * 7 + b"\x0fabc.", "expected|exceed|bytes"),
    "no object": (b"}\x86.", "its TUPLE2 lacks an object"),
    "no mark": (b"}t.", "its TUPLE lacks an object"),
    "unknown object": (b"h\7.", "its BINGET lacks an object"),
    "two objects": (b"}}.", "ends with 2 objects"),
    "items of a list": (b"](NNu.", "sets items of a list"),
    "odd items": (b"}(NNNu.", "sets items of a dict"),
    "append to a dict": (b"}Na.", "appends to a dict"),
    "call of a dict": (b"})R.", "calls a dict"),
    "arguments in a list": (b"ccollections\nOrderedDict\n]R.", "in an unknown way"),
    "change": (b"]}b.", "changes list"),
    "nameless": (b"NN\x93.", "refers to something without a name"),
    "new name": (b"\x8c\2os\x8c\6system\x93.", r"refers to os\.system"),
    "instance": (b"(ios\nsystem\n.", "uses INST"),
    "object": (b"(cos\nsystem\no.", r"refers to os\.system"),
    "extension": (b"\x82\1.", "uses EXT1"),
    "duplicate": (b"}2.", "uses DUP"),
    "out of band": (b"\x97.", "uses NEXT_BUFFER"),
    "old name": (b"ctorch\nload\n(X\1\0\0\0atR.", r"refers to torch\.load"),
}


@pytest.mark.parametrize("layout", ["legacy", "zip"])
@pytest.mark.parametrize("case", PICKLES)
def test_rejects_malicious_pickles(tmp_path, case, layout):
    pickled, reason = PICKLES[case]
    refuse(torch_file(tmp_path / "net.pth", b"\x80\x02" + pickled, layout), reason)


@pytest.mark.parametrize("layout", ["legacy", "zip"])
def test_limits_the_number_of_steps(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(unpickle, "MAX_STEPS", 1000)
    path = torch_file(tmp_path / "net.pth", b"\x80\x02" + b"}" * 1000 + b".", layout)
    refuse(path, "takes more than 1000 steps")
