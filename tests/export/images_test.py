import collections

import numpy as np
import pytest
from PIL import Image

from export import images
from export.images import Example
from keras_efficientnet import preprocessing
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops

SPEC = EvalPreprocessing(32, 8)


def write(path, value=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 48), (value, 0, 0)).save(path)


def test_flat_folder_is_listed_by_name_without_classes(tmp_path):
    for name in ("b.png", "a.JPG", "c.gif"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    found = images.list_images(tmp_path)
    assert [(e.path.name, e.folder) for e in found] == [
        ("a.JPG", None),
        ("b.png", None),
        ("c.gif", None),
    ]
    assert images.class_indices(found, ["x"]) is None


def test_class_folders_give_indices_by_name(tmp_path):
    for name in ("dog", "cat"):
        write(tmp_path / name / "1.png")
    found = images.list_images(tmp_path)
    assert images.class_indices(found, ["bird", "cat", "dog"]).tolist() == [1, 2]


def test_imagenet_folders_may_be_wordnet_ids(tmp_path):
    write(tmp_path / "n01443537" / "1.png")
    write(tmp_path / "tench" / "1.png")
    labels = [name for _, name in preprocessing.imagenet_classes()]
    found = images.list_images(tmp_path)
    assert images.class_indices(found, labels).tolist() == [1, 0]


@pytest.mark.parametrize("labels", [("cat", "dogs"), ("dog", "dog")])
def test_folder_that_is_not_one_class_is_refused(tmp_path, labels):
    write(tmp_path / "dog" / "1.png")
    found = images.list_images(tmp_path)
    with pytest.raises(ValueError, match="exactly one of the model's 2 classes"):
        images.class_indices(found, labels)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must exist. Received: .*no"):
        images.list_images(tmp_path / "no")


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must hold some"):
        images.list_images(tmp_path)


def test_images_beside_class_folders_are_refused(tmp_path):
    write(tmp_path / "1.png")
    write(tmp_path / "dog" / "1.png")
    with pytest.raises(ValueError, match="either images or class folders, not both"):
        images.list_images(tmp_path)


def test_choice_is_balanced_and_always_the_same():
    examples = [
        Example(f"{c}{i}", c) for c in "abc" for i in range(5 + 20 * (c == "a"))
    ]
    chosen = images.choose_balanced(examples, 12)
    assert collections.Counter(e.folder for e in chosen) == {"a": 4, "b": 4, "c": 4}
    assert chosen == images.choose_balanced(examples, 12)
    assert len(set(images.choose_balanced(examples, 99))) == 35


def test_choice_of_none_is_refused():
    with pytest.raises(ValueError, match=r"at least 1. Received: count=0"):
        images.choose_balanced([], 0)


def test_reads_what_evaluation_sees(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    wanted = tf_ops.eval_image(pixels, SPEC).numpy()
    np.testing.assert_array_equal(images.read_image(tmp_path / "1.png", SPEC), wanted)


def test_batches_hold_every_image_once(tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(images.BATCH_SIZE + 3)]
    for i, path in enumerate(paths):
        write(path, value=i)
    batches = list(images.read_batches(paths, SPEC))
    assert [len(batch) for batch in batches] == [images.BATCH_SIZE, 3]
    reds = np.concatenate(batches)[:, 16, 16, 0]
    np.testing.assert_allclose(reds, np.arange(len(paths)), atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n truncated"])
def test_unreadable_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"readable JPEG.* Received: .*bad.png"):
        images.read_image(tmp_path / "bad.png", SPEC)
