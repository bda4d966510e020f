import pytest

from keras_efficientnet.common.split_folders import (
    WHOLE,
    find_splits,
    open_image_folder,
    split_of,
)
from tests.support.image_files import write_images


def write_classes(root, classes=("cat", "dog")):
    write_images(root, *(f"{name}/a.png" for name in classes))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "TRAIN", "Training", "seg_train")),
        *((name, "validation") for name in ("valid", "val", "Validation", "dev")),
        *((name, "validation") for name in ("eval", "val2017", "val_images")),
        *((name, "test") for name in ("test", "testing", "Test-Set", "test1")),
        *((name, "test") for name in ("testset",)),
        *((name, None) for name in ("trainer", "train_station", "test tube", "data")),
        *((name, None) for name in ("train_test", "1", "vale", "")),
    ],
)
def test_recognises_the_names_of_splits(name, split):
    assert split_of(name) == split


def test_finds_split_folders_in_any_case(tmp_path):
    for name in ("Test", "TRAINING", "dev"):
        write_classes(tmp_path / name)
    found = find_splits(tmp_path)
    assert list(found) == ["train", "validation", "test"]
    assert [path.name for path in found.values()] == ["TRAINING", "dev", "Test"]


def test_class_folders_alone_have_no_splits(tmp_path):
    write_classes(tmp_path)
    assert find_splits(tmp_path) == {WHOLE: tmp_path}


def test_unwraps_a_folder_with_a_warning(tmp_path):
    write_classes(tmp_path / "archive" / "data")
    write_images(tmp_path, "__MACOSX/a.png")
    with pytest.warns(UserWarning, match="Using the images in .*archive/data"):
        assert find_splits(tmp_path) == {WHOLE: tmp_path / "archive" / "data"}


def test_unwraps_folders_around_and_inside_splits(tmp_path):
    for name in ("seg_train", "seg_test"):
        write_classes(tmp_path / "data" / name / name)
    with pytest.warns(UserWarning, match="Using the images in .*data"):
        found = find_splits(tmp_path)
    data = tmp_path / "data"
    assert found == {
        "train": data / "seg_train" / "seg_train",
        "test": data / "seg_test" / "seg_test",
    }


def test_a_single_class_with_subfolders_is_not_a_wrapper(tmp_path):
    write_images(tmp_path, "cat/deep/a.png")
    assert find_splits(tmp_path) == {WHOLE: tmp_path}


@pytest.mark.parametrize(
    "inside", ["test/a.png", "test/unknown/a.png", "test1/x/a.png"]
)
def test_warns_about_an_unlabelled_test_folder(tmp_path, inside):
    write_classes(tmp_path / "train")
    write_images(tmp_path, inside)
    with pytest.warns(UserWarning, match="unused folders: test"):
        assert list(find_splits(tmp_path)) == ["train"]


def test_warns_about_unused_folders_beside_splits(tmp_path):
    for name in ("train", "valid", "extra"):
        write_classes(tmp_path / name)
    (tmp_path / "annotations").mkdir()
    with pytest.warns(UserWarning, match="unused folders: annotations, extra"):
        assert list(find_splits(tmp_path)) == ["train", "validation"]


def test_rejects_validation_images_without_class_folders(tmp_path):
    write_classes(tmp_path / "train")
    write_images(tmp_path, "val/a.png")
    with pytest.raises(ValueError, match="val must have one subfolder per class, like"):
        find_splits(tmp_path)


def test_rejects_a_class_named_train_among_others(tmp_path):
    write_images(tmp_path, "bus/a.png", "car/a.png", "train/a.png")
    assert find_splits(tmp_path) == {WHOLE: tmp_path}
    write_images(tmp_path, "train/steam/b.png")
    with pytest.raises(ValueError, match="train with class folders .* bus, car; pass"):
        find_splits(tmp_path)


@pytest.mark.parametrize(
    "names", [("Train", "Test"), ("train",), ("train", "val", "x")]
)
def test_rejects_split_folders_without_class_folders(tmp_path, names):
    write_images(tmp_path, *(f"{name}/a.png" for name in names))
    with pytest.raises(ValueError, match="must have one subfolder per class"):
        find_splits(tmp_path)


def test_rejects_two_folders_for_one_split(tmp_path):
    for name in ("train", "val", "Valid"):
        write_classes(tmp_path / name)
    with pytest.raises(
        ValueError, match="only one folder .* validation .*: Valid, val"
    ):
        find_splits(tmp_path)


def test_opens_a_flat_folder_without_classes(tmp_path):
    write_images(tmp_path, "b.png", "a.JPG", "c.gif")
    (tmp_path / "notes").mkdir()
    found = open_image_folder(tmp_path)
    assert found.class_names == ()
    assert [path.rpartition("/")[2] for path in found.paths] == [
        "a.JPG",
        "b.png",
        "c.gif",
    ]


def test_opens_class_folders_at_any_depth_and_skips_empty_ones(tmp_path):
    write_images(tmp_path, "cat/a.png", "cat/deep/b.png", "eel/a.png", ".x/a.png")
    (tmp_path / "dog").mkdir()
    found = open_image_folder(tmp_path)
    assert found.class_names == ("cat", "eel")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.take([2]).labels.tolist() == [1]


def test_rejects_images_beside_class_folders(tmp_path):
    write_images(tmp_path, "1.png", "dog/1.png")
    with pytest.raises(ValueError, match="either images or class folders, not both"):
        open_image_folder(tmp_path)


def test_rejects_split_folders_where_images_are_expected(tmp_path):
    for name in ("train", "val"):
        write_classes(tmp_path / name)
    with pytest.raises(ValueError, match=r"pass one of .*train, .*val"):
        open_image_folder(tmp_path)
