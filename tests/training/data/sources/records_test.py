import hashlib
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.preprocessing import tf_ops
from tests.support.paths import PHOTOS
from training.data import sources
from training.data.sources import records

FILES = sorted(PHOTOS.glob("*.jpg"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Redirects cached indexes to a temporary folder."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "keras_efficientnet" / "indexes"


def example(encoded, label, **others):
    """Makes a record like tensorflow/tpu's imagenet_to_gcs.py."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        "image/height": 375,
        "image/class/synset": b"n01440764",
        "image/filename": b"n01440764_10026.JPEG",
        "image/encoded": encoded,
        "image/class/label": label,
    } | others
    present = {key: feature(v) for key, v in features.items() if v is not None}
    features = tf.train.Features(feature=present)
    return tf.train.Example(features=features).SerializeToString()


def write(path, serialized):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)


def write_imagenet(root):
    """Writes six photos to two training files, and two to a validation file."""
    files = [path.read_bytes() for path in FILES[:8]]
    labels = [1, 1000, 389, 3, 2, 7, 1, 1000]
    rows = [example(*pair) for pair in zip(files, labels, strict=True)]
    write(root / "train-00000-of-00002", rows[:2])
    write(root / "train-00001-of-00002", rows[2:6])
    write(root / "validation-00000-of-00001", rows[6:])
    return files, labels


def read_all(split):
    return [*tf.data.Dataset.range(len(split)).map(split.read).as_numpy_iterator()]


def test_imagenet_records_return_the_original_files(tmp_path):
    files, labels = write_imagenet(tmp_path / "data")
    source = sources.load(f"tfrecord:{tmp_path / 'data'}")
    assert source.class_names[388] == "n02510455"  # giant panda
    assert len(source.class_names) == 1000
    train, validation = source.split("train"), source.split("validation")
    assert read_all(train) == files[:6]
    assert read_all(validation) == files[6:]
    assert train.labels.tolist() == [label - 1 for label in labels[:6]]
    assert train.names[3] == "train-00001-of-00002#1"
    assert train.names[1:3] == ["train-00000-of-00002#1", "train-00001-of-00002#0"]
    assert len(set(train.names)) == 6


def test_many_threads_can_read_any_position(tmp_path, monkeypatch):
    """Also with more files than are kept open."""
    monkeypatch.setattr(records, "_MOST_OPEN", 1)
    files, _ = write_imagenet(tmp_path / "data")
    split = sources.tfrecord(f"{tmp_path}/data").split("train")
    order = np.random.default_rng(0).integers(0, 6, 200)
    found = tf.data.Dataset.from_tensor_slices(order).map(split.read, 8)
    assert [*found.as_numpy_iterator()] == [files[i] for i in order]
    photo = tf_ops.pixels(split.read(tf.constant(5, tf.int64)))
    np.testing.assert_array_equal(photo, tf.io.decode_jpeg(files[5], channels=3))


def test_reads_remote_files_through_gfile(tmp_path):
    """Golden: the same file read locally. "ram://" stands for "gs://"."""
    files, _ = write_imagenet(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        tf.io.gfile.copy(str(path), f"ram://imagenet/{path.name}", overwrite=True)
    source = sources.load("tfrecord:ram://imagenet/*")
    assert read_all(source.split("train")) == files[:6]


def test_a_glob_pattern_selects_files(tmp_path):
    files, _ = write_imagenet(tmp_path / "data")
    with pytest.raises(ValueError, match="at least 2 images, to be split into train"):
        sources.load(f"tfrecord:{tmp_path}/data/train-*")
    source = sources.load(f"tfrecord:{tmp_path}/data/val*")
    assert list(source.splits) == ["validation"]
    assert read_all(source.split("validation")) == files[6:]


def test_without_validation_files_a_tenth_is_held_out(tmp_path):
    rows = [example(b"%d" % i, 1 + i % 2) for i in range(40)]
    write(tmp_path / "data" / "train-0", rows)
    source = sources.tfrecord(str(tmp_path / "data"))
    counts = {n: np.bincount(s.labels).tolist() for n, s in source.splits.items()}
    assert counts == {"train": [18, 18], "validation": [2, 2]}
    found = [int(x) for split in source.splits.values() for x in read_all(split)]
    assert sorted(found) == list(range(40))


def test_the_index_is_made_once(tmp_path, cache, monkeypatch):
    files, _ = write_imagenet(tmp_path / "data")
    sources.tfrecord(str(tmp_path / "data"))
    assert len(list(cache.iterdir())) == 2  # for the training and the validation files

    def fail(path, layout):
        raise AssertionError(path)

    with monkeypatch.context() as patch:
        patch.setattr(records, "_index_tfrecord", fail)
        again = sources.tfrecord(str(tmp_path / "data"))
    assert read_all(again.split("train")) == files[:6]


def test_changed_files_and_damaged_caches_are_indexed_again(tmp_path, cache):
    write_imagenet(tmp_path / "data")
    sources.tfrecord(str(tmp_path / "data"))
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    write(tmp_path / "data" / "validation-00000-of-00001", [example(b"new", 5)])
    with pytest.warns(UserWarning, match="is damaged"):
        source = sources.tfrecord(str(tmp_path / "data"))
    assert read_all(source.split("validation")) == [b"new"]
    assert len(source.split("train")) == 6


def poison(path, change):
    """Overwrites a cached index, as an attacker could."""
    with path.open("rb") as stream:
        rows = np.load(stream)
    change(rows)
    with path.open("wb") as stream:
        np.save(stream, rows)
        stream.write(hashlib.sha256(rows.tobytes()).digest())


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 99), (0, -1), (1, 1 << 62), (1, -5), (2, 1 << 62), (2, -1), (3, 1000)],
)
def test_warns_about_a_poisoned_cache_and_replaces_it(tmp_path, cache, column, value):
    files, _ = write_imagenet(tmp_path / "data")
    sources.tfrecord(str(tmp_path / "data"))
    for path in cache.iterdir():
        poison(path, lambda rows: rows.__setitem__((-1, column), value))
    with pytest.warns(UserWarning, match=rf"{cache}/\w+.npy is damaged"):
        source = sources.tfrecord(str(tmp_path / "data"))
    assert read_all(source.split("train")) == files[:6]


def test_detects_flipped_bits_of_a_cache(tmp_path, cache):
    files, _ = write_imagenet(tmp_path / "data")
    sources.tfrecord(str(tmp_path / "data"))
    for path in cache.iterdir():
        content = bytearray(path.read_bytes())
        content[-32 - 8 * 3] ^= 1  # the place of the last image
        path.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged; indexing the files again"):
        source = sources.tfrecord(str(tmp_path / "data"))
    assert read_all(source.split("train")) == files[:6]


@pytest.mark.parametrize("content", [b"junk" * 100, b"", b"\0" * 40, None])
def test_error_names_a_file_without_records(tmp_path, content):
    write_imagenet(tmp_path / "data")
    path = tmp_path / "data" / "train-00001-of-00002"
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Received: {path}") as caught:
        sources.tfrecord(str(tmp_path / "data"))
    assert "{{" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_works_without_a_writable_cache(tmp_path, cache):
    files, _ = write_imagenet(tmp_path / "data")
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    source = sources.tfrecord(str(tmp_path / "data"))
    assert read_all(source.split("train")) == files[:6]


def test_rejects_a_folder_without_matching_files(tmp_path):
    write(tmp_path / "data" / "other", [example(b"x", 1)])
    for pattern in (tmp_path / "data", tmp_path / "nowhere*", tmp_path / "missing"):
        with pytest.raises(ValueError, match="named train-.* data=.*matches none"):
            sources.load(f"tfrecord:{pattern}")


def test_error_names_a_missing_shard(tmp_path):
    write_imagenet(tmp_path / "data")
    (tmp_path / "data" / "train-00001-of-00002").unlink()
    with pytest.raises(ValueError, match="without 1, the first .*train-00001-of-00002"):
        sources.load(f"tfrecord:{tmp_path / 'data'}")


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_error_names_a_truncated_file(tmp_path, keep):
    write_imagenet(tmp_path / "data")
    path = tmp_path / "data" / "train-00001-of-00002"
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(ValueError, match="be complete .*train-00001-of-00002 .trunc"):
        sources.tfrecord(str(tmp_path / "data"))


def test_error_names_other_files(tmp_path):
    (tmp_path / "train-0").write_bytes(b"no records at all, but text " * 9)
    with pytest.raises(ValueError, match="complete and not compressed. .*train-0"):
        sources.tfrecord(str(tmp_path))
    (tmp_path / "train-0").write_bytes(b"")
    with pytest.raises(ValueError, match="must contain records. Received: .*train-0"):
        sources.tfrecord(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image/encoded": None}, "'image/encoded', bytes, and .*Received: .*train-0"),
        ({"image/class/label": None}, "'image/class/label', an integer. .*train-0"),
        ({"image/class/label": b"tench"}, "'image/class/label', an integer. .*train-0"),
        ({"image/class/label": 0}, "must be 1 to 1000. Received: 0 in record 1 of .*"),
        ({"image/class/label": 1001}, "1 to 1000. Received: 1001 in record 1 of .*"),
    ],
)
def test_error_names_invalid_records(tmp_path, changes, message):
    write(tmp_path / "train-0", [example(b"x", 1), example(b"y", 2, **changes)])
    with pytest.raises(ValueError, match=message):
        sources.tfrecord(str(tmp_path))


def test_detects_files_that_are_truncated_during_training(tmp_path):
    write_imagenet(tmp_path / "data")
    split = sources.tfrecord(str(tmp_path / "data")).split("train")
    os.truncate(tmp_path / "data" / "train-00001-of-00002", 100)
    with pytest.raises(
        (OSError, tf.errors.OpError), match="truncated since it was index"
    ):
        read_all(split)
