import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.weights.formats import reading, tensor_bundle, tf_checkpoint
from tests.support.weight_files.tf_files import write

AVERAGE = "/ExponentialMovingAverage"
VARIABLES = ("net/stem/conv2d/kernel", "net/blocks_10/se/conv2d/bias")


@pytest.fixture(scope="module")
def values():
    """Raw values, averages and slots of two variables, and the step counter."""
    rng = np.random.default_rng(0)
    made = {"global_step": np.int64(7)}
    for name, shape in zip(VARIABLES, [(3, 3, 3, 8), (5,)], strict=True):
        for suffix in ("", AVERAGE, "/RMSProp", "/RMSProp_1", f"{AVERAGE}/odd"):
            made[name + suffix] = rng.random(shape, np.float32)
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, values):
    return write(tmp_path_factory.mktemp("saved") / "model.ckpt-7", values)


def same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)
        assert actual[name].dtype == array.dtype


@pytest.mark.parametrize("suffix", ["", AVERAGE])
def test_reads_averages_and_raw_values_on_request(checkpoint, values, suffix):
    expected = {name: values[name + suffix] for name in VARIABLES}
    for path in (
        checkpoint,
        checkpoint.parent,
        checkpoint.with_name(f"{checkpoint.name}.index"),
    ):
        same(reading.read(path, [], ema=bool(suffix)), expected)


@pytest.mark.parametrize("ema", [True, False])
def test_checkpoint_without_averages_has_raw_values(tmp_path, ema):
    raw = {"a": np.arange(3.0), "a/RMSProp": np.zeros(3)}
    path = write(tmp_path / "x.ckpt", raw)
    same(reading.read(path, [], ema), {"a": raw["a"]})


def test_rejects_averages_of_only_some_variables(tmp_path):
    path = write(tmp_path / "x", {"a": 1.0, f"a{AVERAGE}": 2.0, "b": 3.0})
    with pytest.raises(ValueError, match="1 of its variables .* 'b'; pass `ema=False`"):
        reading.read(path, [])


@pytest.mark.parametrize(
    "dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u2", "u1", "?"]
)
def test_reads_every_type_like_tensorflow(tmp_path, dtype):
    array = np.array([[0, 1, 2], [3, 4, 1]], dtype)
    same(reading.read(write(tmp_path / "x", {"a": array}), []), {"a": array})


def test_converts_bfloat16_to_float32(tmp_path):
    path = write(tmp_path / "x", {"a": np.array([1.5, -2], tf.bfloat16.as_numpy_dtype)})
    same(reading.read(path, []), {"a": np.array([1.5, -2], np.float32)})


def test_reads_scalars_and_empty_tensors(tmp_path):
    made = {"a": np.float32(3), "b": np.zeros((0, 2), np.float32)}
    same(reading.read(write(tmp_path / "x", made), []), made)


def test_rejects_strings(tmp_path):
    path = write(tmp_path / "x", {"a": b"text"})
    with pytest.raises(ValueError, match="its a must hold numbers, not type 7"):
        reading.read(path, [])


def test_rejects_partitioned_variables(tmp_path):
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        split = tf1.fixed_size_partitioner(2)
        tf1.get_variable("a", (4, 2), partitioner=split, use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "x"))
    with pytest.raises(ValueError, match="partitioned"):
        reading.read(tmp_path / "x", [])


def test_reads_an_index_of_several_blocks(tmp_path):
    # TensorFlow starts a new block after 256 KiB.
    made = {f"v{i}{'x' * 8000}{i}": np.array([i]) for i in range(100)}
    path = write(tmp_path / "x", made)
    assert tensor_bundle.index_file(path).stat().st_size > 3 * 2**18
    same(reading.read(path, []), made)


def test_reads_the_latest_checkpoint_of_a_folder(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"model.ckpt-{step}", {"a": np.array([step])})
    same(reading.read(tmp_path, []), {"a": np.array([2])})
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(ValueError, match="2 checkpoints; name one of model.ckpt-1, "):
        reading.read(tmp_path, [])


# Damaged checkpoints.


def copy(checkpoint, folder):
    for path in checkpoint.parent.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / checkpoint.name


def test_rejects_missing_and_truncated_data(checkpoint, tmp_path):
    path = copy(checkpoint, tmp_path)
    data = path.with_name(f"{path.name}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="ends before net/stem/conv2d/kernel"):
        reading.read(path, [])
    data.write_bytes(b"short")
    with pytest.raises(ValueError, match="claims 884 bytes; 5 are stored"):
        reading.read(path, [])
    data.unlink()
    with pytest.raises(ValueError, match="data-00000-of-00001 is missing"):
        reading.read(path, [])


@pytest.mark.parametrize("place", [0, 3, 40, -1, -60])
def test_rejects_a_damaged_index(checkpoint, tmp_path, place):
    path = copy(checkpoint, tmp_path)
    index = tensor_bundle.index_file(path)
    content = bytearray(index.read_bytes())
    content[place] ^= 0x55
    index.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a TensorFlow checkpoint"):
        reading.read(path, [])


def test_rejects_a_truncated_index(checkpoint, tmp_path):
    path = copy(checkpoint, tmp_path)
    index = tensor_bundle.index_file(path)
    index.write_bytes(index.read_bytes()[:30])
    with pytest.raises(ValueError, match="damaged or truncated"):
        reading.read(path, [])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b"\x08\x01\x28\x04\x12\x04\x12\x02\x08\x02", r"shape \(2,\) has 4 bytes"),
        (b"\x08\x01\x28\x04\x12\x0d\x12\x0b\x08" + b"\xff" * 9 + b"\x01", "damaged"),
        (b"\x08\x01\x28\x04\x10\x05", "damaged"),  # a shape that is a number
        (b"\x08\x01\x0b", "damaged"),  # a group, a deprecated wire type
        (b"\x08\x01\x12\x7f", "truncated"),
        (b"\x08\x01\x28", "truncated"),
        (b"\x08\x01\x28\x04\x18\x63", r"data-00099-of-00001 is missing"),
    ],
)
def test_rejects_forged_entries(tmp_path, entry, reason):
    path = tmp_path / "x"
    path.with_name("x.data-00000-of-00001").write_bytes(bytes(4))
    rows = b"\0\0\2\x08\x01" + b"\0\1" + bytes([len(entry)]) + b"a" + entry
    first = block(rows)
    second = block(b"\0\1\2" + b"a" + bytes([0, len(first) - 5]))
    meta = bytes([0, 0, len(first), len(second) - 5])
    footer = meta + bytes(40 - len(meta)) + bytes.fromhex("57fb808b247547db")
    tensor_bundle.index_file(path).write_bytes(first + second + footer)
    with pytest.raises(ValueError, match=reason):
        reading.read(path, [])


def block(rows, kind=b"\0"):
    """Appends the end of a LevelDB block: no restarts, no compression, a checksum."""
    content = rows + bytes(4) + kind
    crc = tensor_bundle._masked_crc32c(content)
    return content + crc.to_bytes(4, "little")


def test_rejects_a_compressed_index(tmp_path):
    first = block(b"", b"\1")
    footer = bytes([0, 0, 0, len(first) - 5]) + bytes(36)
    content = first + footer + bytes.fromhex("57fb808b247547db")
    tensor_bundle.index_file(tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match="compressed"):
        reading.read(tmp_path / "x", [])


def test_rejects_an_index_that_repeats_a_block(tmp_path):
    rows = block(b"\0\1\1ab" * 200)
    pointer = bytes([0]) + tensor_varint(len(rows) - 5)
    names = b"".join(
        b"\0\1" + bytes([len(pointer)]) + bytes([i]) + pointer for i in range(65, 75)
    )
    second = block(names)
    meta = b"\0\0" + tensor_varint(len(rows)) + tensor_varint(len(second) - 5)
    footer = meta + bytes(40 - len(meta)) + bytes.fromhex("57fb808b247547db")
    tensor_bundle.index_file(tmp_path / "x").write_bytes(rows + second + footer)
    with pytest.raises(ValueError, match="names a block twice"):
        reading.read(tmp_path / "x", [])


def test_rejects_an_index_whose_shared_prefixes_expand_too_much(tmp_path):
    """An index of 50 kB would expand to 150 MB of names."""
    size = tensor_varint(10_000)
    rows = block(b"\0" + size + b"\0" + b"a" * 10_000 + 15_000 * (size + b"\0\0"))
    length = len(rows) - 5
    pointer = b"\0" + bytes(
        [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]
    )
    second = block(b"\0\1" + bytes([len(pointer)]) + b"a" + pointer)
    start = len(rows)
    start = bytes([start & 0x7F | 0x80, start >> 7 & 0x7F | 0x80, start >> 14])
    meta = b"\0\0" + start + bytes([len(second) - 5])
    footer = meta + bytes(40 - len(meta)) + bytes.fromhex("57fb808b247547db")
    tensor_bundle.index_file(tmp_path / "x").write_bytes(rows + second + footer)
    with pytest.raises(ValueError, match="index expands to far more than its size"):
        reading.read(tmp_path / "x", [])


def test_rejects_object_based_checkpoints(tmp_path):
    tf.train.Checkpoint(a=tf.Variable([1.0])).save(tmp_path / "net")
    with pytest.raises(ValueError, match="object-based checkpoint .* save the model"):
        reading.read(tmp_path, [])


def tensor_varint(number):
    return bytes([number & 0x7F | 0x80, number >> 7])


# Tar archives.


def archive(path, members, mode="w:gz"):
    """Writes a tar archive of (name, content or TarInfo) pairs."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = content
            if isinstance(content, bytes):
                info = tarfile.TarInfo(name)
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if info is not content else None)
    return path


def members(checkpoint, folder="efficientnet-b0/"):
    return [
        (folder + path.name, path.read_bytes())
        for path in sorted(checkpoint.parent.iterdir())
    ]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("folder", ["efficientnet-b0/", "", "../../", "/root/"])
def test_reads_an_archive_of_a_checkpoint(checkpoint, values, tmp_path, mode, folder):
    path = archive(tmp_path / "net.tar", members(checkpoint, folder), mode)
    before = sorted(tmp_path.parent.rglob("*"))
    expected = {name: values[name + AVERAGE] for name in VARIABLES}
    same(reading.read(path, []), expected)
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_rejects_an_archive_with_links(checkpoint, tmp_path, kind):
    link = tarfile.TarInfo("model.ckpt.index")
    link.type, link.linkname = kind, "/etc/passwd"
    path = archive(tmp_path / "net.tar.gz", [("", link), *members(checkpoint)])
    with pytest.raises(ValueError, match="'model.ckpt.index' must be a regular file"):
        reading.read(path, [])


def test_rejects_an_archive_of_two_checkpoints(checkpoint, tmp_path):
    twice = [*members(checkpoint, "a/"), *members(checkpoint, "b/")]
    path = archive(tmp_path / "net.tar.gz", twice)
    with pytest.raises(ValueError, match="one checkpoint, not 'a/check.*'b/check"):
        reading.read(path, [])


def test_rejects_an_archive_without_a_checkpoint(tmp_path):
    path = archive(tmp_path / "net.tar.gz", [("readme.txt", b"hello")])
    with pytest.raises(ValueError, match=r"no TensorFlow checkpoint, no file \*.index"):
        reading.read(path, [])


def test_rejects_an_archive_that_expands_too_much(tmp_path):
    path = archive(tmp_path / "net.tar.gz", [("a", bytes(70 << 20))])
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="expands to far more than its size"):
        reading.read(path, [])


def test_rejects_an_archive_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tf_checkpoint, "_MAX_MEMBERS", 3)
    path = archive(tmp_path / "net.tar", [(str(i), b"") for i in range(4)], "w")
    with pytest.raises(ValueError, match="more than 3 files"):
        reading.read(path, [])


def test_rejects_a_truncated_archive(checkpoint, tmp_path):
    path = archive(tmp_path / "net.tar.gz", members(checkpoint))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cannot be read as a TensorFlow checkpoint"):
        reading.read(path, [])
