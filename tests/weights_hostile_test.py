"""Weight files made to do harm, one by one; tests/fuzz.py damages them at random."""

import gzip
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch_files

from keras_efficientnet.weights import isolated, reading, unpickle

MEMORY_BYTES = 100 << 20
SECONDS = 30


@pytest.fixture
def refused():
    """Returns a function that reads a file, which must fail soon and in little room."""

    def read(path, reason, is_verified=True):
        def too_long(*_):
            raise AssertionError("it hangs")

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

    return read


def torch_file(path, pickled, layout):
    """Writes a file of torch around any pickle."""
    if layout == "legacy":
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        start = b"".join(pickle.dumps(part, protocol=2) for part in head)
        path.write_bytes(start + pickled + pickle.dumps([], protocol=2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    return path


TUPLE1, TUPLE2, PUT_0, GET_0 = b"\x85", b"\x86", b"q\0", b"h\0"
DEEP = b")" + TUPLE1 * 20_000  # hashing or printing it ends the process
WIDE = b")" + (PUT_0 + GET_0 + TUPLE2) * 60  # holds 2**60 tuples
HUGE = b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000  # an int
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\1tQ"


def tensor_call(shape):
    return b"}X\1\0\0\0a" + TENSOR + b"(" + STORAGE + b"K\0" + shape + b")\x89}tRs."


PICKLES = {
    "deep key": (b"}" + DEEP + b"Ns.", "has a tuple as a key"),
    "wide key": (b"}" + WIDE + b"Ns.", "has a tuple as a key"),
    "keys": (b"}(" + WIDE + b"Nu.", "has a tuple as a key"),
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
def test_pickles(refused, tmp_path, case, layout):
    pickled, reason = PICKLES[case]
    refused(torch_file(tmp_path / "net.pth", b"\x80\x02" + pickled, layout), reason)


@pytest.mark.parametrize("layout", ["legacy", "zip"])
def test_endless_pickle(refused, tmp_path, monkeypatch, layout):
    monkeypatch.setattr(unpickle, "MAX_STEPS", 1000)
    path = torch_file(tmp_path / "net.pth", b"\x80\x02" + b"}" * 1000 + b".", layout)
    refused(path, "takes more than 1000 steps")


def test_one_storage_as_very_many_tensors(refused, tmp_path):
    whole = torch_files.Storage("0", "FloatStorage", np.zeros(10**6, np.float32))
    content = {
        f"a{i}": torch_files.Tensor(whole, (250_000,), (1,)) for i in range(2000)
    }
    path = torch_files.write(tmp_path / "net.pth", content, "zip")
    refused(path, "would grow from .* to 2000000000 bytes")


def zip_file(path, count=1, compression=zipfile.ZIP_STORED, size=1000):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for i in range(count):
            archive.writestr(f"archive/data/{i}", bytes(size))
    return path


def test_overlapping_entries(refused, tmp_path):
    path = zip_file(tmp_path / "net.pth", count=2)
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(100):  # as "better zip bombs" do
            copy = zipfile.ZipInfo(f"archive/data/copy{i}")
            for name in ("header_offset", "compress_size", "file_size", "CRC"):
                setattr(copy, name, getattr(archive.getinfo("archive/data/1"), name))
            archive.filelist.append(copy)
            archive._didModify = True
    refused(path, "its entries overlap")


def test_many_entries_that_explode_a_little(refused, tmp_path):
    options = {"compression": zipfile.ZIP_DEFLATED, "size": 900_000}
    path = zip_file(tmp_path / "net.pth", count=100, **options)
    refused(path, "would grow from")


def test_odd_compression(refused, tmp_path):
    path = zip_file(tmp_path / "net.pth", compression=zipfile.ZIP_LZMA)
    refused(path, "has an odd compression")


@pytest.mark.parametrize("config", [b"[" * 200_000, b'{"config": {"layers": [1]}}'])
def test_archives_with_odd_configurations(refused, tmp_path, config):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"")
    refused(path, "recursion|does not list the layers")


def hdf5_file(path, edit):
    """Writes legacy weights of one layer, whose kernel `edit` makes."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["layer_names"] = [b"stem_conv"]
        group = file.create_group("stem_conv")
        group.attrs["weight_names"] = [b"kernel"]
        edit(group)
    return path


def soft_cycle(group):
    group["kernel"] = h5py.SoftLink("/stem_conv/kernel")


def soft_link(group):
    group["other"] = np.zeros(3)
    group["kernel"] = h5py.SoftLink("/stem_conv/other")


def virtual(group):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "data", (3,))
    group.create_virtual_dataset("kernel", layout)


def absurd_shape(group):
    group.create_dataset("kernel", (2**40, 2**20), "f4", chunks=(1, 2**10))


def filter_bomb(group):
    group.create_dataset("kernel", (2**28,), "f4", chunks=(2**22,), compression="gzip")
    group["kernel"][: 2**22] = 0


def text(group):
    group["kernel"] = ["a" * 100] * 10


def compound(group):
    group["kernel"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def is_group(group):
    group.create_group("kernel")


def missing(group):
    del group


def same_data(group):
    group["kernel"] = np.zeros(500_000, "f4")
    names = [f"kernel{i}" for i in range(1000)]
    for name in names:
        group[name] = group["kernel"]
    group.attrs["weight_names"] = [name.encode() for name in names]


HDF5 = {
    soft_cycle: "refers to another place",
    soft_link: "refers to another place",
    virtual: "refers to another file",
    absurd_shape: "claims 4611686018427387904 bytes",
    filter_bomb: "claims 1073741824 bytes",
    text: "must hold numbers",
    compound: "must hold numbers",
    is_group: "must be a dataset",
    missing: "has no member 'kernel'",
    same_data: "would grow from .* to 2000000000 bytes",
}


@pytest.mark.parametrize("edit", HDF5, ids=lambda edit: edit.__name__)
def test_hdf5(refused, tmp_path, edit):
    refused(hdf5_file(tmp_path / "net.h5", edit), HDF5[edit])


@pytest.mark.parametrize("name", ["layer", "kernel"])
def test_links_to_other_files_are_not_opened(refused, tmp_path, name):
    os.mkfifo(tmp_path / "pipe")  # who opens it waits for ever

    def edit(group):
        if name == "layer":
            del group.file["stem_conv"]
            group = group.file
            name_there = "stem_conv"
        else:
            name_there = "kernel"
        group[name_there] = h5py.ExternalLink(str(tmp_path / "pipe"), "data")

    refused(hdf5_file(tmp_path / "net.h5", edit), "refers to another place")


def test_process_of_its_own_gives_the_same_arrays(tmp_path):
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


def test_process_of_its_own_tells_the_same_errors(refused, tmp_path):
    path = hdf5_file(tmp_path / "net.h5", absurd_shape)
    refused(path, "in HDF5: .*claims 4611686018427387904 bytes", is_verified=False)


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
def test_process_that_crashes_or_hangs(refused, tmp_path, monkeypatch, program, reason):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(isolated, "__file__", str(tmp_path / "program.py"))
    monkeypatch.setattr(isolated, "_CPU_SECONDS", 0.25)
    refused(hdf5_file(tmp_path / "net.h5", text), reason, is_verified=False)


@pytest.mark.skipif(sys.platform != "linux", reason="has no limit on memory")
def test_process_with_too_little_memory(refused, tmp_path, monkeypatch):
    def large(group):
        group["kernel"] = np.zeros(16 << 20, np.float32)

    path = hdf5_file(tmp_path / "net.h5", large)
    limit = (150 << 20) - 2 * reading.total_bound(path.stat().st_size)
    monkeypatch.setattr(isolated, "_MEMORY_BYTES", limit)
    refused(path, "Unable to allocate|Can't allocate|crashes on it", is_verified=False)


def test_file_on_which_the_library_hangs(refused, monkeypatch):
    # Found by tests/fuzz.py with HDF5 1.14.6; another version may refuse it.
    monkeypatch.setattr(isolated, "_CPU_SECONDS", 1)
    path = Path(__file__).parent / "data" / "hang.h5"
    refused(path, "hangs on it|cannot be read", is_verified=False)


def safetensors_file(path, header, data=b"\0" * 8, size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if size is None else size
    path.write_bytes(struct.pack("<Q", size) + text + data)
    return path


def row(start, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "huge header": ({}, 2**63),
    "long header": ({"a": row(0, 8, (2,))}, 2000),
    "header of 100 MB": (b"{" + b" " * 1000, 100_000_001),
    "bad JSON": (b"{nonsense}", None),
    "deep JSON": (b'{"a":' + b"[" * 100_000, None),
    "overlap": ({"a": row(0, 8, (2,)), "b": row(4, 8)}, None),
    "hole": ({"a": row(0, 4)}, None),
    "outside": ({"a": row(0, 800, (200,))}, None),
    "backwards": ({"a": row(8, 0, (2,))}, None),
    "negative": ({"a": row(-8, 0, (2,))}, None),
    "other size": ({"a": row(0, 8, (3,))}, None),
    "overflow": ({"a": row(0, 8, (2**63, 2**63))}, None),
    "odd type": ({"a": row(0, 8, (8,), "F3")}, None),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(refused, tmp_path, case):
    header, size = SAFETENSORS[case]
    path = safetensors_file(tmp_path / "net.safetensors", header, size=size)
    refused(path, "cannot be read as safetensors")


def tar_file(path, name, kind=tarfile.REGTYPE, data=b"x", mode="w"):
    with tarfile.open(path, mode) as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, len(data) if kind == tarfile.REGTYPE else 0
        member.linkname = "/etc/passwd"
        archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE]
)
def test_tar_members_that_are_no_files(refused, tmp_path, kind):
    path = tar_file(tmp_path / "net.tar", "net/model.ckpt.index", kind)
    refused(path, "must be a regular file")


@pytest.mark.parametrize("name", ["../evil.index", "/evil.index", "a/../../evil.index"])
def test_tar_members_stay_in_the_temporary_folder(refused, tmp_path, monkeypatch, name):
    inside = tmp_path / "temporary"
    inside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    refused(tar_file(tmp_path / "net.tar", name), "index is damaged or truncated")
    assert [path.name for path in tmp_path.rglob("*")].count("evil.index") == 0


def test_sparse_tar_member_is_refused(refused, tmp_path):
    path = tmp_path / "net.tar"
    member = tarfile.TarInfo("model.ckpt.index")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" * 2  # one stretch, without bytes
    block[483:495] = b"\x80" + (2**50).to_bytes(11, "big")  # of a petabyte
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))
    refused(path, "must be a regular file")


def test_gzip_in_gzip_is_refused(refused, tmp_path):
    path = tmp_path / "net.tar.gz"
    path.write_bytes(gzip.compress(gzip.compress(bytes(1 << 20))))
    refused(path, "cannot be read as a TensorFlow checkpoint in a tar file")


FUZZ = Path(__file__).with_name("fuzz.py")


def fuzz(*options):
    run = subprocess.run(
        [sys.executable, FUZZ, *options], capture_output=True, text=True, check=False
    )
    # Should it crash, the end of what it writes to stderr names the file.
    assert run.returncode == 0, run.stdout + run.stderr[-300:]
    lines = [line for line in run.stdout.splitlines() if "refused" in line]
    assert len(lines) == 14


def test_damaged_files_are_refused_or_loaded():
    fuzz("--count=60", "--hdf5_count=10")


@pytest.mark.slow
def test_very_many_damaged_files_are_refused_or_loaded():
    fuzz("--count=500", "--seed=1")
