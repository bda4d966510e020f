"""Checks of prepared files when the trainer opens them."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from tests.training.prepare.conftest import write_folder
from training.augment.transforms import make_augmentation
from training.data import pipeline, sources
from training.prepare import PrepareOptions, open_images, prepare


def test_trainer_rejects_a_missing_file(folder):
    (folder / "train-00001-of-00003").unlink()
    with pytest.raises(ValueError, match="All 4 files .*without train-00001-of-00003"):
        sources.load(f"tfrecord:{folder}")


def test_trainer_rejects_an_unknown_file(folder):
    shutil.copy(folder / "train-00001-of-00003", folder / "train-00009-of-00003")
    with pytest.raises(ValueError, match="listed in the manifest.json .*train-00009"):
        sources.load(f"tfrecord:{folder}/*")


@pytest.mark.parametrize("change", ["a byte", "the size"])
def test_trainer_rejects_a_changed_file(folder, change):
    sources.load(f"tfrecord:{folder}")  # the cached index does not hide the change
    path = folder / "train-00001-of-00003"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content if change == "a byte" else content[:-1])
    os.utime(path, (1, 1))
    expected = "checksum differs" if change == "a byte" else "bytes instead of"
    with pytest.raises(ValueError, match=f"train-00001-of-00003.*{expected}"):
        sources.load(f"tfrecord:{folder}")


def test_trainer_rejects_a_damaged_manifest(folder):
    (folder / "manifest.json").write_text('{"format": "tfrecord"}')
    with pytest.raises(ValueError, match="manifest.json must be complete: .*'shards'"):
        sources.load(f"tfrecord:{folder}")


def test_trainer_rejects_files_of_other_classes(folder, tmp_path):
    root = write_folder(tmp_path / "photos")
    images = open_images(f"folder:{root}", None, None, None)
    prepare(images, tmp_path / "other", PrepareOptions())
    with pytest.raises(ValueError, match="same classes .*3 classes .*2 classes"):
        sources.load(f"tfrecord:{tmp_path}/[do]*/t*")


def test_trainer_rejects_the_other_format(prepared):
    with pytest.raises(ValueError, match="as arrayrecord:GLOB. Received: tfrecord:"):
        sources.load(f"tfrecord:{prepared}/arrayrecord/*")


def test_truncated_array_records_are_an_error(prepared, tmp_path):
    root = shutil.copytree(prepared / "arrayrecord", tmp_path / "data")
    (root / "manifest.json").unlink()
    path = next(root.glob("train-*"))
    os.truncate(path, 1000)
    with pytest.raises(ValueError, match=f"Array.* must be complete. .*{path.name}"):
        sources.load(f"arrayrecord:{root}")


@pytest.mark.slow
def test_array_records_resume_at_any_step(prepared):
    split = sources.load(f"arrayrecord:{prepared / 'arrayrecord'}").split("train")

    def batches(first):
        return pipeline.train_batches(
            split,
            EvalPreprocessing(32),
            make_augmentation("crop_flip"),
            classes=3,
            batch_size=4,
            seed=0,
            first_step=first,
            last_step=4,
            strategy=tf.distribute.get_strategy(),
        )

    golden = [images.numpy() for images, *_ in batches(0)]
    resumed = [images.numpy() for images, *_ in batches(2)]
    np.testing.assert_array_equal(resumed, golden[2:])
