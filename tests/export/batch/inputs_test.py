"""Every kind of input gives the pixels that evaluation sees."""

import io
import os
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.batch.inputs import list_locations
from export.batch.listing import Listing, write_listing
from export.batch.reading import ImageReader
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import read_image

SPEC = EvalPreprocessing(32, 0.875, "bicubic_legacy")
NAMES = ("a.png", "b.jpg", "deep/c.png")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three images, a text and a hidden image."""
    folder = tmp_path_factory.mktemp("inputs") / "photos"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in NAMES:
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / "._a.png").write_bytes(b"resource fork")
    return folder


def _encoded(photos):
    return [(photos / name).read_bytes() for name in NAMES]


def _examples(photos):
    for encoded in _encoded(photos):
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
        features = tf.train.Features(feature={"image/encoded": feature})
        yield tf.train.Example(features=features).SerializeToString()


def _folder(photos):
    return str(photos)


def _glob(photos):
    return f"{photos}/**/*.[pj][np]g"


def _text(photos):
    path = photos.parent / "list.txt"
    path.write_text("".join(f"photos/{name}\n" for name in NAMES) + "\n")
    return str(path)


def _csv(photos):
    path = photos.parent / "table.csv"
    rows = "".join(f'1,"{photos / name}"\r\n' for name in NAMES)
    path.write_bytes(("\ufefflabel,path\r\n" + rows).encode())
    return str(path)


def _parquet(photos):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = photos.parent / "table.parquet"
    names = [str(photos / name) for name in NAMES]
    parquet.write_table(pyarrow.table({"path": names, "label": [1, 2, 3]}), path)
    return str(path)


def _tar(photos):
    path = photos.parent / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name in (*NAMES, "notes.txt", "._a.png"):
            tar.add(photos / name, name)
    return str(path)


def _tfrecord(photos):
    path = photos.parent / "train-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in _examples(photos):
            writer.write(example)
    return f"tfrecord:{photos.parent}/train-*"


def _array_record(photos):
    module = pytest.importorskip("array_record.python.array_record_module")
    path = photos.parent / "images.array_record"
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    for example in _examples(photos):
        writer.write(example)
    writer.close()
    return str(path)


def _remote_folder(photos):
    fsspec = pytest.importorskip("fsspec")
    for name, encoded in zip(NAMES, _encoded(photos), strict=True):
        with fsspec.open(f"memory://photos/{name}", "wb") as file:
            file.write(encoded)
    return "memory://photos"


def _remote_tar(photos):
    fsspec = pytest.importorskip("fsspec")
    with open(_tar(photos), "rb") as source:
        content = source.read()
    with fsspec.open("memory://shards/0.tar", "wb") as file:
        file.write(content)
    return "memory://shards/*.tar"


@pytest.mark.parametrize(
    "make",
    [
        *(_folder, _glob, _text, _csv, _parquet, _tar, _tfrecord, _array_record),
        *(_remote_folder, _remote_tar),
    ],
)
def test_every_kind_of_input_gives_the_pixels_of_evaluation(make, photos, tmp_path):
    write_listing(list_locations(make(photos)), tmp_path)
    locations = Listing(tmp_path).read(0, 3)
    read = ImageReader(SPEC, 3)
    assert len(Listing(tmp_path)) == 3
    assert len({location.path for location in locations}) == 3
    for name, location in zip(NAMES, locations, strict=True):
        np.testing.assert_array_equal(
            read(location), read_image(photos / name, SPEC), err_msg=name
        )


def test_listing_reads_ranges_and_its_digest_depends_on_order(photos, tmp_path):
    locations = list(list_locations(str(photos)))
    first = write_listing(locations, tmp_path)
    assert Listing(tmp_path).read(1, 3) == locations[1:]
    assert write_listing(locations, tmp_path) == first
    assert write_listing(locations[::-1], tmp_path) != first


def test_names_that_are_not_utf8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "list.txt").write_bytes(os.fsencode(name) + b"\n")
    write_listing(list_locations(str(tmp_path / "list.txt")), tmp_path)
    (found,) = Listing(tmp_path).read(0, 1)
    assert found.path == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jpg", b"broken", "not an image"),
        ("a.jpg", b"", "not an image"),
        ("missing.jpg", None, "No such file"),
    ],
)
def test_unreadable_images_have_a_reason(name, content, reason, tmp_path):
    (tmp_path / "list.txt").write_text(name)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (location,) = list_locations(str(tmp_path / "list.txt"))
    with pytest.raises(ValueError, match=reason):
        ImageReader(SPEC, 3)(location)


def test_rejects_a_tar_file_that_is_cut_short(photos, tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(photos / "a.png", "a.png")
    (tmp_path / "cut.tar").write_bytes(content.getvalue()[:2000])
    with pytest.raises(ValueError, match="must be complete and not compressed"):
        list(list_locations(str(tmp_path / "cut.tar")))


def test_container_that_has_become_shorter_has_a_reason(photos, tmp_path):
    path = shutil.copy(_tar(photos), tmp_path / "x.tar")
    location = list(list_locations(str(path)))[-1]
    os.truncate(path, location.start + 5)
    with pytest.raises(ValueError, match="container ends before it"):
        ImageReader(SPEC, 3)(location)


def test_rejects_a_damaged_tfrecord(tmp_path):
    (tmp_path / "x.tfrecord").write_bytes(b"\x1f\x8b" + bytes(range(200)))
    with pytest.raises(ValueError, match="damaged at byte 0"):
        list(list_locations(str(tmp_path / "x.tfrecord")))


def test_rejects_a_compressed_tar(photos, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.add(photos / "a.png", "a.png")
    with pytest.raises(ValueError, match="complete and not compressed"):
        list(list_locations(str(tmp_path / "x.tar")))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.csv", b"file\na.png\n", "must have a column 'path'. Received: .* file"),
        ("x.csv", b"path\n\xff\xfe\n", "must be text in UTF-8"),
        ("x.parquet", b"broken", "must be|Parquet"),
        ("x.zip", b"PK", "must name images, or .tar"),
    ],
)
def test_rejects_files_that_list_no_images(name, content, match, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        list(list_locations(str(tmp_path / name)))


@pytest.mark.parametrize("given", ["nowhere/*.jpg", "memory://nowhere/*.jpg"])
def test_rejects_an_input_that_matches_nothing(given):
    with pytest.raises(ValueError, match="existing file or folder, or match some"):
        list(list_locations(given))


def test_rejects_an_unknown_kind_of_url():
    with pytest.raises(ValueError, match="must be readable. Received: input='no://x"):
        list(list_locations("no://x/*.jpg"))
