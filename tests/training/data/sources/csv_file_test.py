import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.image_files import write_images
from training import evaluate, fine_tune
from training.data import sources
from training.data.sources import pseudo


def write_classes(root, counts):
    for name, count in counts.items():
        write_images(root, *(f"{name}/{i}.png" for i in range(count)))


def write_list(root, rows, header="path,label"):
    file = root / "list.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return f"csv:{file}"


def list_folder(root, **extra):
    """Writes a list of the images of a folder, in another order than its own."""
    paths = sorted(root.glob("*/*.png"), reverse=True)
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in paths]
    return write_list(root, rows, **extra)


def test_splits_are_those_of_the_same_images_in_class_folders(tmp_path):
    write_classes(tmp_path, {"cat": 10, "dog": 5})
    of_file = sources.load(list_folder(tmp_path))
    of_folder = sources.load(f"folder:{tmp_path}")
    assert of_file.class_names == of_folder.class_names
    assert of_file.splits.keys() == of_folder.splits.keys()
    for name, split in of_folder.splits.items():
        found = of_file.split(name)
        expected = dict(zip(split.names, split.labels, strict=True))
        assert dict(zip(found.names, found.labels, strict=True)) == expected
        for i, path in enumerate(found.names):
            read = found.read(tf.constant(i, tf.int64)).numpy()
            assert read == pathlib.Path(path).read_bytes()
    held_out = [
        set(sources.hold_out(source, 3).split("minival").names)
        for source in (of_file, of_folder)
    ]
    assert held_out[0] == held_out[1]


def test_listed_splits_and_weights_are_kept(tmp_path):
    write_classes(tmp_path, {"x": 6})
    rows = [
        f"x/{i}.png,{'ab'[i % 2]},{['train', 'dev', 'test'][i // 2]},{i}"
        for i in range(6)
    ]
    source = sources.load(write_list(tmp_path, rows, "path,label,split,weight"))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    np.testing.assert_array_equal(source.split("train").weights, [0, 1])
    other = sources.load(
        write_list(tmp_path, [r[:-1] + "7" for r in rows], "path,label,split,weight")
    )
    assert source.split("train").digest() != other.split("train").digest()


def test_a_tenth_of_train_is_held_out_without_validation(tmp_path):
    write_classes(tmp_path, {"x": 20})
    rows = [f"x/{i}.png,{'ab'[i % 2]},train,{i}" for i in range(20)]
    source = sources.load(write_list(tmp_path, rows, "path,label,split,weight"))
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 18,
        "validation": 2,
    }
    for split in source.splits.values():
        assert [int(name.split("/")[-1][:-4]) for name in split.names] == (
            split.weights.tolist()
        )


def test_rejects_labels_without_training_images(tmp_path):
    write_classes(tmp_path, {"x": 4})
    rows = ["x/0.png,a,train", "x/1.png,b,train", "x/2.png,c,test"]
    with pytest.raises(
        ValueError, match="must have training images. Received: none of c"
    ):
        sources.load(write_list(tmp_path, rows, "path,label,split"))


def test_rejects_training_weights_of_zero_only(tmp_path):
    write_classes(tmp_path, {"x": 2})
    rows = ["x/0.png,a,train,0", "x/1.png,b,train,0"]
    with pytest.raises(ValueError, match="must have weights above 0"):
        sources.load(write_list(tmp_path, rows, "path,label,split,weight"))


def test_several_labels_are_split_by_the_rarest(tmp_path):
    write_classes(tmp_path, {"x": 22})
    labels = ["a|b"] * 5 + ["a"] * 10 + [""] * 5 + ["a|c", "c|b"]
    rows = [f"x/{i}.png,{label}" for i, label in enumerate(labels)]
    source = sources.load(write_list(tmp_path, rows), multi_label=True)
    assert source.class_names == ("a", "b", "c")
    parts = source.splits.values()
    assert sorted(i for part in parts for i in part.names) == sorted(
        str(tmp_path / f"x/{i}.png") for i in range(22)
    )
    for name in ("validation", "test"):
        part = source.split(name)  # a fifth of "a", of "a|b" and of those without
        assert sorted(part.label_sets.tolist()) == [
            [0, 0, 0],
            [1, 0, 0],
            [1, 0, 0],
            [1, 1, 0],
        ]
    # Two images with "c" are too few to be split.
    assert source.split("train").label_sets[:, 2].sum() == 2
    other = sources.load(
        write_list(tmp_path, [*rows[:-1], "x/21.png,c"]), multi_label=True
    )
    assert source.split("train").digest() != other.split("train").digest()


def test_rejects_several_labels_of_which_one_has_no_training_image(tmp_path):
    write_classes(tmp_path, {"x": 4})
    rows = ["x/0.png,a|b,train", "x/1.png,,train", "x/2.png,c|a,test"]
    file = write_list(tmp_path, rows, "path,label,split")
    with pytest.raises(ValueError, match="Received: none of c"):
        sources.load(file, multi_label=True)


def test_file_names_are_answered_with_the_csv_source(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'csv:data/list.tsv'"):
        sources.load("data/list.tsv")


def test_fine_tune_takes_a_file(tmp_path):
    write_classes(tmp_path, {"cat": 10, "dog": 5})
    file = list_folder(tmp_path).removeprefix("csv:")
    assert len(fine_tune._source(file, None, ["cat", "dog"]).split("train")) == 9
    with pytest.raises(
        ValueError, match="`validation` must be None where `train` is a"
    ):
        fine_tune._source(file, file, None)


def test_evaluation_finds_the_classes_and_splits(tmp_path):
    write_classes(tmp_path, {"x": 4})
    rows = ["x/0.png,dog,test", "x/1.png,cat,test", "x/2.png,dog,test"]
    source = sources.load(write_list(tmp_path, rows, "path,label,split"))
    split = evaluate._find_split(source, "validation")  # falls back to test
    assert split.labels.tolist() == [1, 0, 1]


def test_pseudo_labels_keep_the_weights_of_labelled_images(tmp_path):
    write_classes(tmp_path, {"x": 4})
    rows = ["x/0.png,a,train,2", "x/1.png,b,train,3", "x/2.png,b,val,1"]
    train = sources.load(write_list(tmp_path, rows, "path,label,split,weight"))
    taught = sources.unlabelled(tmp_path / "x")
    joint = pseudo._join_weights(train.split("train"), taught)
    assert joint.tolist() == [2, 3, 1, 1, 1, 1]
