"""Run folders whose files are missing or damaged."""

import dataclasses
import json
import os
import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.training_runs.finished_run import finished_run
from tests.support.training_runs.tiny_run import TINY, tiny_source
from training.data import pipeline, sources
from training.engine import checkpoints, trainer
from training.reporting.metric_writers import METRICS, MetricsWriter
from training.reporting.run_folder import BadImageRecord, RunFolder


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture
def copy(tmp_path):
    """A copy of the finished run, and its summary."""
    workdir, summary = finished_run()
    return shutil.copytree(workdir, tmp_path / "run"), summary


def largest_array(path):
    """Returns where the largest array of an HDF5 file begins, bytes."""
    arrays = []
    with h5py.File(path) as file:
        file.visititems(lambda _, x: arrays.append(x) if hasattr(x, "nbytes") else None)
        values = max(arrays, key=lambda x: x.nbytes)[()]
    return path.read_bytes().index(values.tobytes())


def flip_bits(path):
    content = bytearray(path.read_bytes())
    start = largest_array(path)
    for place in range(start + 16, start + 32, 4):
        content[place] ^= 0x11
    path.write_bytes(content)


def test_rejects_flipped_bits_in_the_best_weights(copy, source):
    workdir, _ = copy
    for name in ("summary.json", "model.keras"):
        (workdir / name).unlink()
    flip_bits(RunFolder(workdir).best_weights)
    with pytest.raises(ValueError, match=r"best.weights.h5 must .* checksum differs"):
        trainer.train(TINY, workdir, source, show=False)
    assert not (workdir / "summary.json").exists()
    assert not (workdir / "model.keras").exists()


@pytest.fixture
def net():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(50, name="d")])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "it is missing"),
        (lambda path: os.truncate(path, 5000), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (lambda path: path.write_bytes(b"text" * 999), "it is damaged"),
        (flip_bits, "checksum differs"),
    ],
)
def test_rejects_weights_that_training_did_not_write(tmp_path, net, damage, reason):
    path = tmp_path / "best.weights.h5"
    checkpoints.save_weights(net, path)
    written = net.get_weights()
    net.set_weights([0 * weight for weight in written])
    checkpoints.load_weights(net, path)
    np.testing.assert_array_equal(net.get_weights()[0], written[0])
    damage(path)
    with pytest.raises(ValueError, match=rf"weights.h5 must be .*{reason}.*Restore it"):
        checkpoints.load_weights(net, path)


def test_weights_of_an_earlier_version_have_no_checksum(tmp_path, net):
    net.save_weights(tmp_path / "best.weights.h5")
    checkpoints.load_weights(net, tmp_path / "best.weights.h5")


def test_missing_model_of_a_finished_run_is_rebuilt(copy):
    workdir, summary = copy
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    before = keras.models.load_model(workdir / "model.keras")(images)
    (workdir / "model.keras").unlink()
    assert trainer.train(TINY, workdir, scores_only=True) == summary
    assert not (workdir / "model.keras").exists()
    assert trainer.train(TINY, workdir) == summary
    after = keras.models.load_model(workdir / "model.keras")(images)
    np.testing.assert_array_equal(before, after)


ROW = {name: 1.5 for name in METRICS}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "\0" * 100,
        lambda text: "{}\n",
        lambda text: text.replace("step", "stap"),
        lambda text: text.replace("1.5,", "1.5;", 3),
        lambda text: text.replace("1.5,1.5", "1.5,one"),
        lambda text: text[:-6],
        lambda text: text.rstrip("\n") + ",7\n",
    ],
)
def test_warns_about_damaged_metrics(tmp_path, damage):
    path = tmp_path / "metrics.csv"
    MetricsWriter(path, 0).add(ROW)
    assert MetricsWriter(path, 2).rows == [ROW]
    path.write_text(damage(path.read_text()))
    with pytest.warns(UserWarning, match="metrics.csv is damaged .* from the report"):
        metrics = MetricsWriter(path, 2)
    metrics.add(ROW)
    assert MetricsWriter(path, 2).rows == [ROW]


def test_warns_about_metrics_that_are_not_text(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(UserWarning, match="metrics.csv is damaged"):
        assert MetricsWriter(tmp_path / "metrics.csv", 2).rows == []


def test_run_with_damaged_metrics_finishes_without_curves(copy, source):
    workdir, summary = copy
    for name in ("summary.json", "model.keras", "report.md", "curves.png"):
        (workdir / name).unlink()
    (workdir / "metrics.csv").write_text("")
    with pytest.warns(UserWarning, match="metrics.csv is damaged"):
        found = trainer.train(TINY, workdir, source, show=False)
    assert found["final_top1"] == summary["final_top1"]
    assert "(curves.png)" not in (workdir / "report.md").read_text()


DAMAGED = [b"", b"\xff", b"[1]", b'"x"', b'{"train": 3}', b"nul"]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_files_are_reported_with_a_remedy(copy, source, content):
    folder = RunFolder(copy[0])
    for path, check in (
        (folder.config, lambda: folder.check_config(TINY)),
        (folder.images, lambda: folder.begin(TINY, source)),
    ):
        cure = "restore it" if path == folder.config else "delete it to resume"
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path.name} is damaged \(.*\); {cure}"):
            check()
        path.unlink()
        if path == folder.images:  # without its config, a run is refused as well
            check()
        path.write_bytes(before)


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_summary_is_reported_with_a_remedy(copy, content):
    folder = RunFolder(copy[0])
    folder.summary.write_bytes(content)
    with pytest.raises(ValueError, match=r"summary.json is damaged .*; delete it to"):
        folder.read_summary()


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_preprocessing_is_reported_and_repaired(copy, source, content):
    folder = RunFolder(copy[0])
    before = folder.read_preprocessing()
    folder.preprocessing.write_bytes(content)
    with pytest.raises(ValueError, match="preprocessing.json is damaged"):
        folder.read_preprocessing()
    folder.begin(TINY, source)
    assert folder.read_preprocessing() == before


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A source of 200 + 200 images, of which one each is damaged."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "validation"):
        for name in ("dark", "light"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(100):
                pixels = tf.fill((32, 32, 3), tf.constant(i, tf.uint8))
                data = tf.io.encode_png(pixels).numpy()
                is_bad = (name, i) == ("light", 7)
                (folder / f"{i:02d}.png").write_bytes(data[:40] if is_bad else data)
    return sources.folder(str(root))


@pytest.mark.slow  # the two tests below keep the record and its limit
def test_bad_images_of_earlier_sessions_stay_in_the_report(tmp_path, photos):
    config = dataclasses.replace(
        TINY, batch_size=100, epochs=2, export_samples=4, on_bad_image="skip"
    )
    trainer.train(config, tmp_path, photos, stop_at_step=2, show=False)
    path = tmp_path / "checkpoints" / "bad_images.json"
    found = json.loads(path.read_text())
    (place,) = found["trained"]
    assert photos.split("train").names[place].endswith("light/07.png")
    assert len(found["evaluated"]) == 1

    # This session reads another image instead, so that it finds no bad ones.
    def whole(split):
        skip = lambda i: i - 107 * tf.cast(i == 107, i.dtype)  # noqa: E731
        return dataclasses.replace(split, read=lambda i: split.read(skip(i)))

    splits = {name: whole(split) for name, split in photos.splits.items()}
    trainer.train(
        config, tmp_path, dataclasses.replace(photos, splits=splits), show=False
    )
    text = (tmp_path / "report.md").read_text()
    for split in ("train", "validation"):
        assert f"{split}/light/07.png`" in text


def test_bad_images_of_earlier_sessions_count_for_the_limit(photos):
    split = photos.split("train")
    pipeline.BadImages(split, found=(1, 2)).check(200)
    bad_images = pipeline.BadImages(split, found=(1, 2, 3, -1, 10**9))
    with pytest.raises(ValueError, match="Received: 3 undecodable images"):
        bad_images.check(200)


def test_record_of_bad_images_is_restored_or_causes_a_warning(tmp_path):
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    record = BadImageRecord((3, 1), ("a\nb.png",))
    folder.write_bad_images(record)
    assert folder.read_bad_images() == record
    path = folder.checkpoints / "bad_images.json"
    for content in ("", "[]", '{"trained": ["x"], "evaluated": []}'):
        path.write_text(content)
        with pytest.warns(UserWarning, match="bad_images.json is damaged"):
            assert folder.read_bad_images() == BadImageRecord()
