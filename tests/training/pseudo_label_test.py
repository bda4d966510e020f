import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.preprocessing import tf_ops
from training import pseudo_label
from training.augment.transforms import make_augmentation
from training.data import pipeline, sources

SPEC = EvalPreprocessing(32, crop_ratio=1.0, interpolation="bilinear")


class Teacher(keras.layers.Layer):
    """Sees how red and how green an image is; the third class is what is left."""

    def call(self, images):
        red, green, _ = keras.ops.unstack(
            keras.ops.mean(images, axis=(1, 2)) / 256, axis=-1
        )
        return keras.ops.stack([red, green, 1 - red - green], axis=-1)

    def compute_output_shape(self, shape):
        return (shape[0], 3)


@pytest.fixture(scope="module")
def teacher():
    return keras.Sequential([keras.Input((32, 32, 3)), Teacher()])


# Red and green of each image, in pixel values; divided by 256, the probabilities.
COLOURS = {
    "a0": (224, 16),  # 0.875 for the first class
    "a1": (160, 64),  # 0.625
    "b0/a2": (128, 64),  # 0.5
    "b0/b": (32, 192),  # 0.75 for the second
    "c": (88, 84),  # no class above 0.35
}


def write_images(root):
    for name, (red, green) in COLOURS.items():
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((40, 40, 3), (red, green, 0), np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())


def label(teacher, folder, **options):
    options = {"min_confidence": 0.4, "per_class": 2} | options
    return pseudo_label.label_images(teacher, SPEC, str(folder), **options)


def stems(found):
    return [name.split("/images/")[1][:-4] for name in found.names]


def test_keeps_the_most_confident_images_and_repeats_rare_classes(teacher, tmp_path):
    write_images(tmp_path / "images")
    found = label(teacher, tmp_path / "images")
    assert stems(found) == ["a0", "a1", "b0/b"]
    assert [stems(found)[i] for i in found.rows] == ["a0", "a1", "b0/b", "b0/b"]
    expected = [[0.875, 0.0625, 0.0625], [0.625, 0.25, 0.125], [0.125, 0.75, 0.125]]
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
    assert found.probabilities.dtype == np.float16


def test_no_class_exceeds_the_largest():
    found = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.8, 0.2, 0], [0.2, 0.8, 0]])
    chosen = pseudo_label.choose_images(found, min_confidence=0.3, per_class=130_000)
    assert chosen.tolist() == [0, 2, 1, 3, 3, 3]


def test_confidence_must_be_above_the_limit():
    found = np.array([[0.5, 0.5], [0.3, 0.7]])
    assert pseudo_label.choose_images(found, 0.5, 9).tolist() == [1]
    assert pseudo_label.choose_images(found, 0.7, 9).tolist() == []


def some_source():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    part = (images, np.arange(6) % 3)
    return sources.arrays({"train": part, "validation": part}, ["a", "b", "c"])


def test_a_student_trains_on_both(teacher, tmp_path):
    write_images(tmp_path / "images")
    path = str(tmp_path / "pseudo.npz")
    label(teacher, tmp_path / "images").save(path)
    source = some_source()
    joined = sources.with_pseudo_labels(source, path, 3)
    train = joined.split("train")
    assert len(train) == 6 + 4
    assert joined.split("validation") is source.split("validation")
    np.testing.assert_array_equal(train.soft_labels[:6], np.tile(np.eye(3), (2, 1)))
    np.testing.assert_array_equal(train.labels, [0, 1, 2, 0, 1, 2, 0, 0, 1, 1])
    expected = [[0.875, 0.0625, 0.0625], [0.125, 0.75, 0.125]]
    np.testing.assert_allclose(train.soft_labels[[6, 9]], expected, atol=1e-3)
    # Pixels in memory combined with encoded files.
    pixels = [train.read(tf.constant(i, tf.int64)) for i in (0, 6, 9)]
    golden = source.split("train").read(tf.constant(0, tf.int64))
    np.testing.assert_array_equal(pixels[0], golden)
    assert pixels[1].numpy()[0, 0].tolist() == [224, 16, 0]
    assert pixels[2].numpy()[0, 0].tolist() == [32, 192, 0]
    ((images, targets, _),) = pipeline.train_batches(
        train,
        SPEC,
        make_augmentation("crop_flip"),
        classes=3,
        batch_size=10,
        seed=0,
        first_step=0,
        last_step=1,
        strategy=tf.distribute.get_strategy(),
    )
    assert images.shape == (10, 32, 32, 3)
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, atol=1e-3)


def test_rejects_a_teacher_with_other_classes(teacher, tmp_path):
    write_images(tmp_path / "images")
    path = str(tmp_path / "pseudo.npz")
    label(teacher, tmp_path / "images", class_names=("a", "b", "c")).save(path)
    assert len(sources.with_pseudo_labels(some_source(), path, 3).split("train")) == 10
    label(teacher, tmp_path / "images", class_names=("a", "c", "b")).save(path)
    with pytest.raises(ValueError, match="classes a, c, b .* classes a, b, c"):
        sources.with_pseudo_labels(some_source(), path, 3)


def test_images_from_files_stay_encoded(teacher, tmp_path):
    write_images(tmp_path / "images")
    for name in ("x", "y", "z"):
        for i in range(3):
            path = tmp_path / "labelled" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((tmp_path / "images" / "a0.png").read_bytes())
    path = str(tmp_path / "pseudo.npz")
    label(teacher, tmp_path / "images").save(path)
    source = sources.folder(str(tmp_path / "labelled"))
    train = sources.with_pseudo_labels(source, path, 3).split("train")
    images = [*tf.data.Dataset.range(len(train)).map(train.read)]
    assert {image.dtype for image in images} == {tf.string}
    assert tf_ops.pixels(images[-1]).numpy()[0, 0].tolist() == [32, 192, 0]


def test_skips_a_few_bad_images_and_rejects_many(teacher, tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="At most 1% .* 0 of 6. .*bad.png"):
        label(teacher, tmp_path / "images")


def test_rejects_a_teacher_without_confident_predictions(teacher, tmp_path):
    write_images(tmp_path / "images")
    with pytest.raises(ValueError, match="at most 0.875. Received: min_confidence=0.9"):
        label(teacher, tmp_path / "images", min_confidence=0.9)


def test_rejects_invalid_files(teacher, tmp_path):
    write_images(tmp_path / "images")
    path = tmp_path / "pseudo.npz"
    with pytest.raises(
        ValueError, match="written by training.pseudo_label. .*pseudo.npz"
    ):
        sources.with_pseudo_labels(some_source(), str(path), 3)
    label(teacher, tmp_path / "images").save(str(path))
    with pytest.raises(ValueError, match="for 4 classes, .*pseudo.npz' for 3"):
        sources.with_pseudo_labels(some_source(), str(path), 4)
    (tmp_path / "images" / "a1.png").rename(tmp_path / "images" / "z.png")
    with pytest.raises(ValueError, match="must not change after it was written"):
        sources.with_pseudo_labels(some_source(), str(path), 3)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match="written by training.pseudo_label. .*pseudo.npz"
    ):
        sources.with_pseudo_labels(some_source(), str(path), 3)


def test_failed_write_leaves_no_file(teacher, tmp_path, monkeypatch):
    write_images(tmp_path / "images")
    found = label(teacher, tmp_path / "images")
    found.save(str(tmp_path / "out" / "pseudo.npz"))
    before = (tmp_path / "out" / "pseudo.npz").read_bytes()

    def fail(stream, **values):
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        found.save(str(tmp_path / "out" / "pseudo.npz"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["pseudo.npz"]
    assert (tmp_path / "out" / "pseudo.npz").read_bytes() == before


@pytest.mark.slow
def test_command_labels_a_folder(tmp_path):
    write_images(tmp_path / "images")
    network = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(
                3,
                "softmax",
                kernel_initializer=keras.initializers.Constant(np.eye(3) / 16),
            ),
        ]
    )
    network.save(tmp_path / "teacher.keras")
    command = [sys.executable, "-m", "training.pseudo_label"]
    command += [f"--teacher={tmp_path}/teacher.keras", f"--data={tmp_path}/images"]
    command += [f"--output={tmp_path}/pseudo.npz", "--per_class=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pseudo.npz: 4 images, 3 of them distinct, in 2 of 3 classes" in done.stdout
    joined = sources.with_pseudo_labels(some_source(), f"{tmp_path}/pseudo.npz", 3)
    assert len(joined.split("train")) == 10
