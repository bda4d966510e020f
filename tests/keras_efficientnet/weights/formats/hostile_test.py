"""Malicious weight files of known kinds; the fuzzer damages files at random."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.weight_files import torch_files
from tests.support.weight_files.refusing import hdf5_file, refuse


def test_rejects_one_storage_with_thousands_of_tensors(tmp_path):
    whole = torch_files.Storage("0", "FloatStorage", np.zeros(10**6, np.float32))
    content = {
        f"a{i}": torch_files.Tensor(whole, (250_000,), (1,)) for i in range(2000)
    }
    path = torch_files.write(tmp_path / "net.pth", content, "zip")
    refuse(path, "would expand from .* to 2000000000 bytes")


def zip_file(path, count=1, compression=zipfile.ZIP_STORED, size=1000):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for i in range(count):
            archive.writestr(f"archive/data/{i}", bytes(size))
    return path


def test_rejects_overlapping_entries(tmp_path):
    path = zip_file(tmp_path / "net.pth", count=2)
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(100):  # as in "better zip bombs"
            copy = zipfile.ZipInfo(f"archive/data/copy{i}")
            for name in ("header_offset", "compress_size", "file_size", "CRC"):
                setattr(copy, name, getattr(archive.getinfo("archive/data/1"), name))
            archive.filelist.append(copy)
            archive._didModify = True
    refuse(path, "its entries overlap")


def test_rejects_many_entries_that_expand_a_little(tmp_path):
    options = {"compression": zipfile.ZIP_DEFLATED, "size": 900_000}
    path = zip_file(tmp_path / "net.pth", count=100, **options)
    refuse(path, "would expand from")


def test_rejects_unusual_compression(tmp_path):
    path = zip_file(tmp_path / "net.pth", compression=zipfile.ZIP_LZMA)
    refuse(path, "uses an unusual compression")


@pytest.mark.parametrize("config", [b"[" * 200_000, b'{"config": {"layers": [1]}}'])
def test_rejects_archives_with_malformed_configurations(tmp_path, config):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"")
    refuse(path, "recursion|does not list the layers")


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
    soft_cycle: "is a link to another location",
    soft_link: "is a link to another location",
    virtual: "refers to another file",
    absurd_shape: "claims 4611686018427387904 bytes",
    filter_bomb: "claims 1073741824 bytes",
    text: "must hold numbers",
    compound: "must hold numbers",
    is_group: "must be a dataset",
    missing: "has no member 'kernel'",
    same_data: "would expand from .* to 2000000000 bytes",
}


@pytest.mark.parametrize("edit", HDF5, ids=lambda edit: edit.__name__)
def test_rejects_malicious_hdf5(tmp_path, edit):
    refuse(hdf5_file(tmp_path / "net.h5", edit), HDF5[edit])


@pytest.mark.parametrize("name", ["layer", "kernel"])
def test_does_not_open_links_to_other_files(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")  # opening it blocks forever

    def edit(group):
        if name == "layer":
            del group.file["stem_conv"]
            group = group.file
            name_there = "stem_conv"
        else:
            name_there = "kernel"
        group[name_there] = h5py.ExternalLink(str(tmp_path / "pipe"), "data")

    refuse(hdf5_file(tmp_path / "net.h5", edit), "is a link to another location")


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
def test_rejects_malicious_safetensors(tmp_path, case):
    header, size = SAFETENSORS[case]
    path = safetensors_file(tmp_path / "net.safetensors", header, size=size)
    refuse(path, "cannot be read as safetensors")


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
def test_rejects_tar_members_that_are_not_files(tmp_path, kind):
    path = tar_file(tmp_path / "net.tar", "net/model.ckpt.index", kind)
    refuse(path, "must be a regular file")


@pytest.mark.parametrize("name", ["../evil.index", "/evil.index", "a/../../evil.index"])
def test_tar_members_stay_in_the_temporary_folder(tmp_path, monkeypatch, name):
    inside = tmp_path / "temporary"
    inside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    refuse(tar_file(tmp_path / "net.tar", name), "index is damaged or truncated")
    assert [path.name for path in tmp_path.rglob("*")].count("evil.index") == 0


def test_rejects_sparse_tar_members(tmp_path):
    path = tmp_path / "net.tar"
    member = tarfile.TarInfo("model.ckpt.index")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" * 2  # one segment without data
    block[483:495] = b"\x80" + (2**50).to_bytes(11, "big")  # real size: a petabyte
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + bytes(1024))
    refuse(path, "must be a regular file")


def test_rejects_nested_gzip(tmp_path):
    path = tmp_path / "net.tar.gz"
    path.write_bytes(gzip.compress(gzip.compress(bytes(1 << 20))))
    refuse(path, "cannot be read as a TensorFlow checkpoint in a tar file")


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "folder"])
@pytest.mark.parametrize("ending", ["", "/m", "/m.index"])
def test_rejects_checkpoints_that_are_devices_pipes_or_folders(
    tmp_path, target, ending
):
    folder = tmp_path / "net"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "m.index").symlink_to(target)
    refuse(Path(f"{folder}{ending}"), "must be a regular file|No such file")


@pytest.mark.parametrize("name", ["net.h5", "net.keras", "net.pth", "net.safetensors"])
def test_rejects_weight_files_that_are_devices_or_pipes(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/zero")
    refuse(tmp_path / name, "must be a regular file")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)  # opening it blocks forever
    refuse(tmp_path / name, "must be a regular file")


def test_rejects_a_device_as_data_of_a_checkpoint(tmp_path):
    pytest.importorskip("tensorflow")
    from tests.support.weight_files import tf_files

    tf_files.write(tmp_path / "m", {"kernel": np.zeros(3, np.float32)})
    (data,) = tmp_path.glob("m.data-*")
    data.unlink()
    data.symlink_to("/dev/zero")
    refuse(tmp_path, "its file m.data-00000-of-00001 is missing")


def fuzz(*options):
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.weight_files.fuzz", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # If it crashes, the end of its stderr names the file.
    assert run.returncode == 0, run.stdout + run.stderr[-300:]
    lines = [line for line in run.stdout.splitlines() if "refused" in line]
    assert len(lines) == 14


def test_rejects_or_loads_damaged_files():
    fuzz("--count=15", "--hdf5_count=6")


@pytest.mark.slow
def test_rejects_or_loads_thousands_of_damaged_files():
    fuzz("--count=500", "--seed=1")
