import hashlib
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.preprocessing import tf_ops
from training.data import sources
from training.data.sources.arrays import _read_digits


def write_images(root, counts):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)
            png = tf.io.encode_png(pixels).numpy()
            (root / name / f"{i}.png").write_bytes(png)


def read_all(split):
    positions = tf.data.Dataset.range(len(split))
    return np.stack([*positions.map(lambda i: tf_ops.pixels(split.read(i)))])


def test_digits_are_complete_and_split_evenly():
    source = sources.digits()
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sum(sizes.values()) == 1797  # source: scikit-learn's documentation
    assert sizes["validation"] == sizes["test"] == pytest.approx(0.2 * 1797, abs=2)
    assert set(np.bincount(source.split("test").labels)) <= {35, 36, 37}
    image = source.split("train").read(tf.constant(0, tf.int64))
    assert image.shape == (32, 32, 3)
    assert image.dtype == tf.uint8
    assert np.max(image) > 200


def test_digits_are_those_of_scikit_learn():
    expected = pytest.importorskip("sklearn.datasets").load_digits()
    pixels, labels = _read_digits()
    np.testing.assert_array_equal(pixels, expected.data)
    np.testing.assert_array_equal(labels, expected.target)


def test_arrays_return_their_images():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3)).astype(np.uint8)
    part = (images, [0, 1, 1, 0])
    source = sources.arrays({"train": part, "validation": part}, ["a", "b"])
    np.testing.assert_array_equal(read_all(source.split("train")), images)


def test_folder_without_splits_is_split_by_a_fixed_rule(tmp_path):
    write_images(tmp_path, {"cat": 10, "dog": 5})
    source = sources.load(f"folder:{tmp_path}")
    assert source.class_names == ("cat", "dog")
    sizes = {name: np.bincount(s.labels).tolist() for name, s in source.splits.items()}
    assert sizes == {"train": [6, 3], "validation": [2, 1], "test": [2, 1]}
    names = [name for split in source.splits.values() for name in split.names]
    assert len(set(names)) == 15
    again = sources.load(f"folder:{tmp_path}")
    assert again.split("test").names == source.split("test").names
    assert read_all(source.split("test")).shape == (3, 6, 7, 3)


def test_folder_with_splits_keeps_them(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        write_images(tmp_path / part, {"cat": count, "dog": count})
    source = sources.folder(str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 8, "validation": 4, "test": 2}


def test_folder_with_train_only_holds_out_a_tenth(tmp_path):
    write_images(tmp_path / "train", {"cat": 20, "dog": 10})
    source = sources.folder(str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 27, "validation": 3}


def test_folder_errors_name_the_folder(tmp_path):
    with pytest.raises(ValueError, match="A folder of images must exist"):
        sources.folder(str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="one subfolder per class"):
        sources.folder(str(tmp_path))
    write_images(tmp_path, {"cat": 2})
    with pytest.raises(ValueError, match=r"at least 3 images, .* Received: 2"):
        sources.folder(str(tmp_path))
    write_images(tmp_path, {"dog": 0})
    with pytest.raises(ValueError, match=r"dog must hold images \(.jpg"):
        sources.folder(str(tmp_path))


def test_accepts_other_names_of_splits(tmp_path):
    for part, count in (("TRAIN", 4), ("valid", 2), ("Testing", 1)):
        write_images(tmp_path / part, {"cat": count, "dog": count})
    source = sources.folder(str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert list(sizes.items()) == [("train", 8), ("validation", 4), ("test", 2)]


def test_a_folder_with_only_test_images_can_be_evaluated(tmp_path):
    write_images(tmp_path / "test", {"cat": 1})
    source = sources.folder(str(tmp_path))
    assert (source.class_names, [*source.splits]) == (("cat",), ["test"])


def test_rejects_training_on_a_single_class(tmp_path):
    write_images(tmp_path, {"photos": 10})
    source = sources.folder(str(tmp_path))
    with pytest.raises(ValueError, match="at least two classes, .* Received: photos"):
        source.check_trainable()


def test_warns_about_classes_that_differ_only_in_spelling(tmp_path):
    write_images(tmp_path, {"cat": 5, "Cat ": 5, "dog": 5})
    source = sources.folder(str(tmp_path))
    with pytest.warns(UserWarning, match="'Cat ' and 'cat' differ only in spelling"):
        source.check_trainable()


def test_file_names_need_not_be_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_images(tmp_path, {f"cat/{name}": 10, f"dog/{name}": 10})
    source = sources.hold_out(sources.folder(str(tmp_path)), 2)
    assert read_all(source.split("minival")).shape == (2, 6, 7, 3)
    assert len(source.split("train").digest()) == 64
    bad = source.split("test").names[0]
    pathlib.Path(bad).write_bytes(b"no image")
    (found,) = source.split("test").find_unreadable()
    assert "caf\\udce9" in found.encode().decode()


def _digests(root):
    source = sources.folder(str(root))
    return {name: split.digest() for name, split in source.splits.items()}


def test_digest_covers_names_sizes_and_classes_but_not_the_folder(tmp_path):
    for part in ("train", "val"):
        write_images(tmp_path / "data" / part, {"cat": 3, "dog": 3})
    root = (tmp_path / "data").rename(tmp_path / "moved")
    before = _digests(root)
    assert _digests(root) == before
    train = root / "train"
    (train / "cat" / "0.png").rename(train / "cat" / "00.png")
    renamed = _digests(root)
    assert renamed["train"] != before["train"]
    assert renamed["validation"] == before["validation"]
    with (train / "dog" / "1.png").open("ab") as file:
        file.write(b"longer")
    assert _digests(root)["train"] != renamed["train"]
    swapped = _digests(root)
    for old, new in (("cat", "x"), ("dog", "cat"), ("x", "dog")):
        (root / "val" / old).rename(root / "val" / new)
    assert _digests(root)["validation"] != swapped["validation"]


def test_digest_of_arrays_covers_their_pixels():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    digests = []
    for value in (0, 1):
        images[1, 2, 3, 0] = value
        part = (images.copy(), [0, 1])
        source = sources.arrays({"train": part, "validation": part}, ["a", "b"])
        digests.append(source.split("train").digest())
        assert source.split("train").take(np.array([0])).digest()
    assert digests[0] != digests[1]


def test_rejects_splits_with_different_classes(tmp_path):
    write_images(tmp_path / "train", {"cat": 1, "dog": 1})
    write_images(tmp_path / "test", {"cat": 1, "cow": 1})
    with pytest.raises(ValueError, match="Only in one of them: cow, dog"):
        sources.folder(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["", "digit", "digits:3", "folder", "folder:", "tfrecord"]
)
def test_unknown_source_lists_the_known_sources(name):
    with pytest.raises(
        ValueError, match="one of digits, fashion_mnist, idx:DIR, folder:DIR, csv:FILE"
    ):
        sources.load(name)


def test_missing_split_lists_the_existing_splits():
    part = (np.zeros((1, 2, 2, 3), np.uint8), [0])
    source = sources.arrays({"train": part, "validation": part}, ["a"])
    with pytest.raises(ValueError, match=r"train, validation\. Received: split="):
        source.split("test")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3)), [0, 1], "uint8. Received: float64"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 1], "of shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), [0], "one label per image"),
        (np.zeros((0, 4, 4, 3), np.uint8), [], "at least one image"),
        (np.zeros((2, 4, 4, 3), np.uint8), [0, 2], "Labels must be 0 to 1"),
    ],
)
def test_rejects_invalid_arrays(images, labels, message):
    part = (images, labels)
    with pytest.raises(ValueError, match=message):
        sources.arrays({"train": part, "validation": part}, ["a", "b"])


def test_arrays_need_a_validation_split():
    with pytest.raises(ValueError, match="must hold 'validation'"):
        sources.arrays({"train": (np.zeros((1, 2, 2, 3), np.uint8), [0])}, ["a"])


@pytest.mark.parametrize("names", [["a", "a"], ["a/b", "c"], ["..", "c"], ["", "c"]])
def test_rejects_class_names_that_cannot_name_folders(names):
    part = (np.zeros((1, 2, 2, 3), np.uint8), [0])
    with pytest.raises(ValueError, match="fit as folder names"):
        sources.arrays({"train": part, "validation": part}, names)


def three_parts(count=40, **parts):
    values = np.arange(count, dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (count, 4, 4, 3))
    part = (images, values.astype(np.int32) % 2)
    return sources.arrays({"train": part, "validation": part, **parts}, ["a", "b"])


def test_hold_out_takes_images_from_train_by_a_fixed_rule():
    source = three_parts()
    held = sources.hold_out(source, 10)
    parts = [read_all(held.split(n))[:, 0, 0, 0] for n in ("train", "minival")]
    assert [len(part) for part in parts] == [30, 10]
    assert sorted(np.concatenate(parts)) == list(range(40))
    for name in ("train", "minival"):
        split = held.split(name)
        pixels = read_all(split)[:, 0, 0, 0]
        np.testing.assert_array_equal(split.labels, pixels % 2)
        assert [split.names[i] for i in range(len(split))] == [
            f"train[{i}]" for i in pixels
        ]
    # By hand: the ten lowest SHA-256 of "train[0]" to "train[39]".
    digests = {i: hashlib.sha256(f"train[{i}]".encode()).digest() for i in range(40)}
    assert parts[1].tolist() == sorted(sorted(digests, key=digests.get)[:10])


def test_hold_out_does_not_depend_on_the_folder(tmp_path):
    chosen = []
    for place in (tmp_path / "here", tmp_path / "over" / "there"):
        write_images(place, {"cat": 12, "dog": 12})
        minival = sources.hold_out(sources.folder(str(place)), 5).split("minival")
        chosen.append([name.removeprefix(str(place)) for name in minival.names])
    assert chosen[0] == chosen[1]
    assert len(set(chosen[0])) == 5


def test_hold_out_does_not_depend_on_the_spelling_of_the_path(tmp_path, monkeypatch):
    write_images(tmp_path / "photos", {"cat": 12, "dog": 12})
    monkeypatch.chdir(tmp_path)
    here, there = (
        sources.hold_out(sources.folder(str(place)), 5).split("minival").names
        for place in ("photos", tmp_path / "photos")
    )
    assert here == there


def test_a_class_may_be_called_train(tmp_path):
    write_images(tmp_path, {"bus": 20, "car": 20, "train": 20})
    assert sources.folder(str(tmp_path)).class_names == ("bus", "car", "train")


@pytest.mark.parametrize("count", [0, 40, 41, -1])
def test_rejects_a_hold_out_without_remaining_training_images(count):
    with pytest.raises(ValueError, match=f"under the 40 .* minival={count}"):
        sources.hold_out(three_parts(), count)


def test_selection_and_final_splits():
    plain, test = three_parts(), (np.zeros((1, 4, 4, 3), np.uint8), [0])
    with_test = three_parts(test=test)
    found = [
        (source.selection_split, source.final_split)
        for source in (
            plain,
            with_test,
            sources.hold_out(plain, 5),
            sources.hold_out(with_test, 5),
        )
    ]
    assert found == [
        ("validation", "validation"),
        ("validation", "test"),
        ("minival", "validation"),
        ("minival", "validation"),
    ]


def test_unlabelled_images_are_found_at_any_depth(tmp_path):
    write_images(tmp_path, {"x/y": 2, "z": 1})
    split = sources.unlabelled(str(tmp_path))
    assert [name.removeprefix(f"{tmp_path}/") for name in split.names] == [
        "x/y/0.png",
        "x/y/1.png",
        "z/0.png",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must hold images"):
        sources.unlabelled(str(tmp_path / "empty"))
