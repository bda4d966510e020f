"""Pseudo labels from batch predictions."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.batch.job import run_job
from export.batch.options import Job, ModelOptions
from keras_efficientnet import EvalPreprocessing
from tests.support.paths import ROOT
from training import pseudo_label
from training.data import sources

CLASSES = 3
OPTIONS = {"min_confidence": 0.34, "per_class": 4}


def write_teacher(path, scale, activation="softmax"):
    """Writes a network that predicts the brightest channel; returns its path."""
    kernel = keras.initializers.Constant(np.eye(3) * scale)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, activation, kernel_initializer=kernel),
        ]
    )
    network.save(path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Path of a network whose predictions are unsure."""
    return write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.keras", 1 / 64)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of one colour each, and one that cannot be read."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(20):
        colour = random.integers(0, 256, 3, np.uint8)
        colour[2] //= 3  # rarely the third class
        pixels = np.broadcast_to(colour, (8, 8, 3))
        (root / f"{i:02d}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return root


def predict(teacher, photos, output, **changes):
    options = {"top": CLASSES, "crop_ratio": 1.0, "interpolation": "bilinear"} | changes
    job = Job(
        input=str(photos),
        output=output,
        options=ModelOptions(model=str(teacher), image_size=8, **options),
        runtime="keras",
        part_size=7,
    )
    output.mkdir()
    run_job(job)
    return str(output)


def test_chooses_as_the_direct_path_does(teacher, photos, tmp_path):
    spec = EvalPreprocessing(8, crop_ratio=1.0, interpolation="bilinear")
    model = keras.models.load_model(teacher)
    golden = pseudo_label.label_images(model, spec, str(photos), **OPTIONS)
    folder = predict(teacher, photos, tmp_path / "predictions")
    for data in (None, str(photos)):
        found = pseudo_label.label_from_predictions(folder, data, **OPTIONS)
        assert list(found.names) == list(golden.names)
        np.testing.assert_array_equal(found.rows, golden.rows)
        every = np.arange(len(found.names))
        np.testing.assert_allclose(
            found.probabilities.dense(every), golden.probabilities, atol=1e-3
        )
        np.testing.assert_array_equal(found.answers, golden.answers)
    np.testing.assert_array_equal(found.positions, golden.positions)


@pytest.mark.parametrize("top", [CLASSES - 1, CLASSES, CLASSES + 7])
def test_confident_teachers_leave_out_classes(photos, tmp_path, top):
    """Probabilities that are 0 in float32 are not in the rows."""
    path = write_teacher(tmp_path / "teacher.keras", 4.0)
    spec = EvalPreprocessing(8, crop_ratio=1.0, interpolation="bilinear")
    model = keras.models.load_model(path)
    golden = pseudo_label.label_images(model, spec, str(photos), **OPTIONS)
    assert (golden.probabilities == 0).any()
    folder = predict(path, photos, tmp_path / "predictions", top=top)
    found = pseudo_label.label_from_predictions(folder, **OPTIONS)
    assert list(found.names) == list(golden.names)
    every = np.arange(len(found.names))
    np.testing.assert_allclose(
        found.probabilities.dense(every), golden.probabilities, atol=1e-3
    )


def test_rejects_predictions_of_several_labels(photos, tmp_path):
    path = write_teacher(tmp_path / "teacher.keras", 1 / 64, "sigmoid")
    folder = predict(path, photos, tmp_path / "predictions")
    with pytest.raises(ValueError, match="mutually exclusive.* of a multi-label model"):
        pseudo_label.label_from_predictions(folder, **OPTIONS)


def some_source():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    part = (images, np.arange(6) % 3)
    return sources.arrays({"train": part, "validation": part}, ["a", "b", "c"])


def test_a_student_trains_on_the_chosen_files(teacher, photos, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    folder = predict(teacher, photos, tmp_path / "predictions", labels=str(labels))
    found = pseudo_label.label_from_predictions(folder, **OPTIONS)
    path = str(tmp_path / "pseudo.npz")
    found.save(path)
    train = sources.with_pseudo_labels(some_source(), path, 3).split("train")
    assert len(train) == 6 + len(found.rows)
    np.testing.assert_array_equal(train.labels[6:], found.answers[found.rows])
    np.testing.assert_allclose(train.soft_labels.sum(axis=1), 1, atol=2e-3)
    pixels = train.read(tf.constant(6, tf.int64)).numpy()
    golden = tf.io.decode_png(Path(found.names[found.rows[0]]).read_bytes())
    np.testing.assert_array_equal(pixels, golden)


def test_trainer_rejects_moved_files(teacher, photos, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in photos.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    folder = predict(teacher, copy, tmp_path / "predictions", labels=str(labels))
    found = pseudo_label.label_from_predictions(folder, **OPTIONS)
    found.save(str(tmp_path / "pseudo.npz"))
    copy.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="must not move .*copy/.*does not exist"):
        sources.with_pseudo_labels(some_source(), str(tmp_path / "pseudo.npz"), 3)


def test_rejects_predictions_without_confidence(teacher, photos, tmp_path):
    folder = predict(teacher, photos, tmp_path / "predictions")
    with pytest.raises(ValueError, match="at most 0.9.*Received: min_confidence=0.999"):
        pseudo_label.label_from_predictions(folder, min_confidence=0.999)


def write_synthetic(root, *, images=5_000_000, classes=10, part_size=250_000):
    """Writes predictions of many images, top 5, in the layout of batch_predict."""
    import pyarrow
    from pyarrow import parquet

    root.mkdir()
    (root / "labels.txt").write_text("".join(f"c{i}\n" for i in range(classes)))
    options = {"format": "parquet", "top": 5}
    manifest = {"images": images, "part_size": part_size, "options": options}
    (root / "manifest.json").write_text(json.dumps(manifest))
    offsets = pyarrow.array(np.arange(part_size + 1, dtype=np.int32) * 5)
    for number in range(images // part_size):
        random = np.random.default_rng(number)
        answers = random.integers(0, classes, (part_size, 1))
        chosen = (answers + np.arange(5)) % classes
        first = random.uniform(0, 0.9, (part_size, 1)).astype(np.float32)
        scores = np.concatenate([first, np.tile((1 - first) / 8, 4)], axis=1)
        lists = {
            "classes": chosen.astype(np.int32).ravel(),
            "scores": scores.astype(np.float32).ravel(),
        }
        start = number * part_size
        names = [f"/data/images/{start + i:09d}.jpg" for i in range(part_size)]
        columns = {
            name: pyarrow.ListArray.from_arrays(offsets, values)
            for name, values in lists.items()
        }
        table = pyarrow.table({"path": names, **columns})
        parquet.write_table(table, root / f"part-{number:05d}.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        # Of 330,000 confident images per class, 130,000 are kept.
        (10, "1300000 images, 1300000 of them distinct, in 10 of 10"),
        # All confident images are kept.
        (1000, "3527000 images, 3333521 of them distinct, in 1000 of 1000"),
    ],
)
def test_five_million_predictions_need_less_than_a_gigabyte(tmp_path, classes, chosen):
    """In the command's process, TensorFlow included."""
    write_synthetic(tmp_path / "predictions", classes=classes)
    command = [sys.executable, "-m", "training.pseudo_label"]
    command += [f"--predictions={tmp_path}/predictions"]
    command += [f"--output={tmp_path}/pseudo.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"{done.stdout.strip()}; {used / 1024:.0f} MiB")
    assert chosen in done.stdout
    assert used < 1e9 / 1024
