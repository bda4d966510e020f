"""Real data sets of TensorFlow Datasets, prepared here from photos."""

import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.preprocessing import tf_ops
from tests.support.paths import PHOTOS
from training.data import sources

FILES = sorted(PHOTOS.glob("*.jpg"))
NAMES = ["bear/polar", "cat", "dog"]


@pytest.fixture(scope="module")
def tfds():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def prepare(tfds, data_dir, file_format, *, parts, test_labels=True):
    """Writes a data set of photos like TFDS; returns the photos by split."""
    builder, photos = make_builder(
        tfds, data_dir, file_format, parts=parts, test_labels=test_labels
    )
    builder.download_and_prepare()
    return photos


def make_builder(tfds, data_dir, file_format, *, parts, test_labels=True):
    """Returns the builder of a data set of photos, and the photos by split."""
    photos = {
        part: [FILES[(i + shift) % len(FILES)] for i in range(count)]
        for shift, (part, count) in enumerate(parts.items())
    }
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=NAMES),
            "file_name": tfds.features.Text(),
        }
    )

    # Not registered, it is found by its files, as others' data sets are.
    class Photos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "our_photos"
        VERSION = tfds.core.Version("1.2.0")
        pkg_dir_path = data_dir

        def _info(self):
            return self.dataset_info_from_configs(
                features=features, supervised_keys=("image", "label")
            )

        def _split_generators(self, manager):
            return {part: self._generate_examples(part) for part in photos}

        def _generate_examples(self, part):
            for i, photo in enumerate(photos[part]):
                label = -1 if part == "test" and not test_labels else i % 3
                yield i, {"image": photo, "label": label, "file_name": photo.name}

    return Photos(data_dir=data_dir, file_format=file_format), photos


def read_all(split):
    return [*tf.data.Dataset.range(len(split)).map(split.read).as_numpy_iterator()]


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_returns_the_photos_that_were_written(tfds, tmp_path, file_format):
    parts = {"train": 9, "validation": 4, "test": 3}
    photos = prepare(tfds, tmp_path, file_format, parts=parts)
    source = sources.load("tfds:our_photos:1.2.0", data_dir=str(tmp_path))
    assert source.class_names == ("bear_polar", "cat", "dog")
    # TFDS shuffles: its own reader says which example is where.
    builder = tfds.builder("our_photos", data_dir=tmp_path)
    for part, written in photos.items():
        split = source.split(part)
        if file_format == "array_record":
            golden = [*builder.as_data_source(part)]
        else:
            golden = [*builder.as_dataset(part).as_numpy_iterator()]
        assert split.labels.tolist() == [row["label"] for row in golden]
        files = {path.name: path.read_bytes() for path in written}
        names = [row["file_name"].decode() for row in golden]
        assert read_all(split) == [files[name] for name in names]
        pixels = tf_ops.pixels(split.read(tf.constant(0, tf.int64)))
        np.testing.assert_allclose(
            pixels.numpy().astype(int), golden[0]["image"].astype(int), atol=10
        )


def test_holds_out_missing_splits_and_skips_unlabelled_ones(tfds, tmp_path):
    parts = {"train": 12, "test": 3}
    prepare(tfds, tmp_path, "tfrecord", parts=parts, test_labels=False)
    source = sources.load("tfds:our_photos", data_dir=str(tmp_path))
    sizes = {name: len(split) for name, split in source.splits.items()}
    assert sizes == {"train": 9, "validation": 3}
    assert np.bincount(source.split("validation").labels).tolist() == [1, 1, 1]


def test_error_names_an_unknown_data_set(tfds, tmp_path):
    with pytest.raises(ValueError, match="TFDS has or can down.*data='tfds:our_pho"):
        sources.load("tfds:our_photoz", data_dir=str(tmp_path))
    prepare(tfds, tmp_path, "tfrecord", parts={"train": 6})
    with pytest.raises(
        ValueError, match="TFDS has or can .*data='tfds:our_photos:9.9.9"
    ):
        sources.load("tfds:our_photos:9.9.9", data_dir=str(tmp_path))


def test_downloads_only_on_request(tfds, tmp_path, monkeypatch):
    builder, _ = make_builder(tfds, tmp_path, "tfrecord", parts={"train": 12})
    calls = []
    monkeypatch.setattr(
        tfds, "builder", lambda name, data_dir: calls.append(name) or builder
    )
    with pytest.raises(
        ValueError,
        match=r"must be prepared .*of unknown size.*To allow it, use "
        r"data='tfds:our_photos\+download'. Received: data='tfds:our_photos'",
    ):
        sources.load("tfds:our_photos", data_dir=str(tmp_path))
    assert not builder.is_prepared()
    source = sources.load("tfds:our_photos+download", data_dir=str(tmp_path))
    assert builder.is_prepared()
    again = sources.load("tfds:our_photos", data_dir=str(tmp_path))
    assert len(again.split("train")) == len(source.split("train")) == 9
    assert calls == ["our_photos"] * 3


def test_names_the_files_to_download_by_hand(tfds, tmp_path):
    # Source: ILSVRC 2012's archives, of 147,897,477,120 and 6,744,924,160 bytes.
    with pytest.raises(
        ValueError, match=r"\(154.6 GB\).*by hand first: .*ILSVRC2012_img_t"
    ):
        sources.load("tfds:imagenet2012", data_dir=str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_rejects_a_data_set_without_labels(tfds, tmp_path):
    class OurTexts(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield 0, {"text": "no image"}

    OurTexts(data_dir=tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match="one label each. .*supervised_keys=None"):
        sources.load("tfds:our_texts", data_dir=str(tmp_path))


def test_error_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"efficientnet-keras\[tfds\]"):
        sources.load("tfds:cifar10")
