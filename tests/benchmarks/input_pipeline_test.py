"""Input benchmark on a few small batches, without PyTorch."""

import builtins

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmarks import input_pipeline
from benchmarks.peers import pillow_loader
from training.data import sources


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return folder, input_pipeline.write_photos(input_pipeline.PHOTOS, folder)


def test_photos_are_written_as_two_classes(photos):
    _, paths = photos
    assert {path.parent.name for path in paths} == {"whole", "part"}
    assert len(paths) == 2 * len(list(input_pipeline.PHOTOS.glob("*.jpg")))
    with Image.open(paths[0]) as image:
        assert image.size == (500, 375)
        assert image.format == "JPEG"


def test_measures_training_input_and_decoding(photos):
    folder, paths = photos
    size = {"images": 12, "batch_size": 4}
    data = f"folder:{folder}"
    images, labels, mask = next(iter(input_pipeline.ours(data, **size)))
    assert images.shape == (4, 224, 224, 3)
    assert labels.shape == mask.shape == (4,)
    decoded = list(input_pipeline.decoding(paths, **size))
    assert [batch.shape for batch in decoded] == [(4, 3)] * 3
    rate = input_pipeline.images_per_second(
        input_pipeline.decoding(paths, **size), batch_size=4, warm_up=1
    )
    assert rate > 0


def test_resized_files_hold_the_images_of_the_folder(photos, tmp_path):
    folder, paths = photos
    data = input_pipeline.prepare_files(folder, tmp_path / "files", 32)
    found = sources.load(data)
    assert sum(len(split) for split in found.splits.values()) == len(paths)
    image = tf.io.decode_jpeg(found.split("train").read(tf.constant(0, tf.int64)))
    assert image.shape == (32, 43, 3)


def test_peer_augments_to_the_same_size(photos):
    _, paths = photos
    with Image.open(paths[0]) as file:
        outs = [np.asarray(pillow_loader.train_image(file)) for _ in range(8)]
    assert {out.shape for out in outs} == {(224, 224, 3)}
    assert len(np.unique(outs, axis=0)) == 8


def test_error_without_pytorch_says_what_to_install(photos, monkeypatch):
    real = builtins.__import__

    def without_torch(name, *arguments, **options):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(ImportError, match="pip install torch==.* --no_peer"):
        pillow_loader.batches(photos[1], images=4, batch_size=4, workers=1)
