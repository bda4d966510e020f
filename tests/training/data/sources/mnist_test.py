import gzip

import numpy as np
import pytest
import tensorflow as tf

from training.data import sources
from training.data.sources import mnist


def idx_bytes(array):
    """Source: the format described on the MNIST web page."""
    header = bytes([0, 0, 8, array.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Writes 20 training and 4 test images of 5 x 6 pixels, 2 classes."""
    for part, count in (("train", 20), ("t10k", 4)):
        images = np.arange(count * 30).reshape(count, 5, 6) % 251
        packed = gzip.compress(idx_bytes(images))
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        labels = idx_bytes(np.arange(count) % 2)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return tmp_path


def test_reads_idx_files_with_and_without_gzip(folder):
    source = sources.load(f"idx:{folder}")
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 18, "validation": 2, "test": 4}
    assert source.class_names == ("0", "1")
    test = source.split("test")
    assert test.labels.tolist() == [0, 1, 0, 1]
    image = test.read(tf.constant(3, tf.int64)).numpy()
    grey = (np.arange(90, 120).reshape(5, 6) % 251).astype(np.uint8)
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=-1))
    assert image.dtype == np.uint8


def test_fashion_mnist_has_its_class_names(folder, monkeypatch):
    monkeypatch.setattr(mnist, "FASHION_MNIST", folder)
    names = sources.load("fashion_mnist").class_names
    assert (len(names), names[9]) == (10, "Ankle boot")


def test_fashion_mnist_error_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "FASHION_MNIST", tmp_path / "missing")
    with pytest.raises(ValueError, match="apt-get install dataset-fashion-mnist"):
        sources.load("fashion_mnist")


def test_errors_name_missing_and_damaged_files(folder):
    labels = folder / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    for content, message in [
        (whole[:-1], "must hold 20 bytes, at least one. Received: 19 bytes"),
        (whole[:5], "begin as an IDX file of 1 dimensions"),
        (b"\x00\x00\x0d" + whole[3:], "begin as an IDX file of 1 dimensions"),
        (idx_bytes(np.zeros(19)), "one label per image. Received: 20 images and 19"),
    ]:
        labels.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            sources.idx(str(folder))
    labels.unlink()
    with pytest.raises(ValueError, match="must hold train-labels-idx1-ubyte or"):
        sources.idx(str(folder))


def test_error_names_a_truncated_gzip_file(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="images-idx3-ubyte.gz must be a complete"):
        sources.idx(str(folder))


def test_rejects_labels_without_names(folder):
    with pytest.raises(ValueError, match="under 1, .* Received: label 1 in"):
        sources.idx(str(folder), ["only"])
