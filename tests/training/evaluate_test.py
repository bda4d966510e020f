import csv
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.calibration.record import CalibrationRecord
from keras_efficientnet.calibration.thresholds import OperatingPoint
from keras_efficientnet.common.cli import exit_codes
from keras_efficientnet.common.models import open_model
from keras_efficientnet.preprocessing import imagenet_classes
from training import evaluate
from training.data import sources

SPEC = EvalPreprocessing(image_size=8, crop_ratio=1.0, interpolation="bilinear")


def brightness_model(classes):
    """Answers class k with certainty to an image filled with the value k."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    weights = np.zeros((3, classes), np.float32)
    weights[0] = 2.0 * np.arange(classes)
    bias = -(np.arange(classes, dtype=np.float32) ** 2)
    dense = keras.layers.Dense(classes, activation="softmax")
    model = keras.Model(inputs, dense(x))
    dense.set_weights([weights, bias])
    return model


def bright_split(values, labels, classes):
    values = np.asarray(values, np.uint8)[:, None, None, None]
    images = np.broadcast_to(values, (len(values), 8, 8, 3))
    part = (images, np.asarray(labels))
    names = [str(i) for i in range(classes)]
    source = sources.arrays({"train": part, "validation": part}, names)
    return source.split("validation")


@pytest.mark.parametrize("batch_size", [1, 10, 64, 2000])
def test_odd_number_of_images_is_counted_once(batch_size):
    # 1,003 images of 10 classes; from the 600th on, labels are off by one, so that
    # padding with the last image would lower the score.
    values = np.arange(1003) % 10
    labels = np.where(np.arange(1003) < 600, values, (values + 1) % 10)
    if batch_size == 1:
        values, labels = values[590:610], labels[590:610]
    split = bright_split(values, labels, 10)
    scores = evaluate.evaluate(brightness_model(10), split, SPEC, batch_size)
    right = int((values == labels).sum())
    assert scores.images == len(values)
    assert scores.top1 == pytest.approx(right / len(values))


def test_top5_and_loss_match_hand_computation():
    split = bright_split([0, 0, 0], [0, 4, 5], 10)
    scores = evaluate.evaluate(brightness_model(10), split, SPEC)
    # Scores decrease with the class, so 4 is the fifth and 5 the sixth prediction.
    assert scores.top1 == pytest.approx(1 / 3)
    assert scores.top5 == pytest.approx(2 / 3)
    logits = -(np.arange(10.0) ** 2)
    log_p = logits - math.log(np.exp(logits).sum())
    floor = math.log(keras.config.epsilon())
    expected = -np.mean([log_p[0], max(log_p[4], floor), floor])
    assert scores.loss == pytest.approx(expected, rel=1e-5)


def test_top5_with_fewer_classes_counts_all():
    split = bright_split([0, 1], [1, 2], 3)
    assert evaluate.evaluate(brightness_model(3), split, SPEC).top5 == 1.0


def test_variant_with_published_weights_is_opened():
    opened = open_model("lite0", "imagenet")
    assert opened.preprocessing == EvalPreprocessing(224)
    assert opened.class_names[0] == "n01440764"  # tench


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line in this process; returns (exit code, output)."""

    def call(*arguments):
        holder = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", holder)
        evaluate.define_flags(holder)
        holder(["evaluate", *arguments])
        try:
            evaluate._main(["evaluate"])
        except SystemExit as end:
            code = end.code
        else:
            return 0, capsys.readouterr().out
        assert code == exit_codes.ExitCode.WRONG_INPUT
        return capsys.readouterr().err, ""

    return call


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model" / "model.keras"
    path.parent.mkdir()
    brightness_model(10).save(path)
    return path


def write_images(folder, values):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        pixels = tf.fill((8, 8, 3), tf.constant(value, tf.uint8))
        (folder / f"{i:03d}.png").write_bytes(tf.io.encode_png(pixels).numpy())


def test_command_writes_tables_and_pictures(tmp_path, model_file, command):
    for label in range(10):
        write_images(tmp_path / "photos" / "train" / str(label), [label])
        # One of three is slightly brighter, so that the next class is predicted.
        values = [label, label, min(label + 1, 9)]
        write_images(tmp_path / "photos" / "test" / str(label), values)
    out = tmp_path / "out"
    # A validation split held out of `train` would need more images.
    write_validation = tmp_path / "photos" / "validation"
    for label in range(10):
        write_images(write_validation / str(label), [label])
    code, text = command(
        f"--model={model_file}",
        f"--data=folder:{tmp_path / 'photos'}",
        "--split=test",
        "--crop_ratio=1",
        "--interpolation=bilinear",
        "--batch_size=7",
        f"--output_dir={out}",
    )
    assert code == 0
    assert "top-1 70.00%" in text  # 21 of 30: all of the last class are correct
    scores = json.loads((out / "scores.json").read_text())
    assert scores["images"] == 30
    assert scores["top1_interval"] == pytest.approx([0.5212, 0.8334], abs=1e-4)
    with (out / "per_class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "class": "0",
        "images": "3",
        "top1": "0.666667",
        "top5": "1",
        "most_confused_with": "1",
        "times": "1",
    }
    assert rows[9]["most_confused_with"] == ""
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows[:4]] == ["0", "0", "0", "1"]
    assert rows[2]["class_1"] == "1"
    assert tf.io.decode_png((out / "confusion.png").read_bytes()).shape[0] > 300


def test_missing_test_split_falls_back_to_validation(tmp_path, monkeypatch):
    for split in ("train", "validation"):
        for label in range(10):
            write_images(tmp_path / "photos" / split / str(label), [label])
    data = f"folder:{tmp_path / 'photos'}"
    source = evaluate.sources.load(data)
    notes = []
    monkeypatch.setattr(evaluate.console, "report", notes.append)
    found = evaluate._find_split(source, "test")
    assert list(found.names) == list(source.split("validation").names)
    assert notes == ["Note: `data` has no test split; validation is scored."]
    assert evaluate._find_split(source, "train") is source.split("train")
    with pytest.raises(ValueError, match="Did you mean 'validation'"):
        evaluate._find_split(source, "validaton")
    assert len(notes) == 1


def test_rejects_an_unwritable_output_before_evaluating(tmp_path, model_file, command):
    (tmp_path / "file").write_text("")
    write_images(tmp_path / "photos", [1])
    code, text = command(
        f"--model={model_file}",
        f"--images={tmp_path / 'photos'}",
        f"--output_dir={tmp_path / 'file' / 'out'}",
    )
    assert "Error: " in code
    assert "predicted" not in text


def test_logits_are_converted_to_probabilities(tmp_path, command):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs / 255)
    logits = keras.layers.Dense(3)(x)
    write_images(tmp_path / "photos", [50])
    answers = {}
    for name, outputs in (
        ("logits", logits),
        ("softmax", keras.layers.Softmax()(logits)),
    ):
        path, folder = tmp_path / f"{name}.keras", tmp_path / name
        keras.Model(inputs, outputs).save(path)
        arguments = (f"--model={path}", f"--images={tmp_path / 'photos'}")
        code, _ = command(*arguments, f"--output_dir={folder}")
        assert code == 0
        answers[name] = (folder / "predictions.csv").read_text()
    assert answers["logits"] == answers["softmax"]


def test_command_requires_the_size_of_a_model_with_open_input(tmp_path, command):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    path = tmp_path / "any.keras"
    keras.Model(inputs, keras.layers.Softmax()(x)).save(path)
    write_images(tmp_path / "photos", [50])
    arguments = (f"--model={path}", f"--images={tmp_path / 'photos'}")
    code, _ = command(*arguments)
    assert "`image_size` must be given" in code
    code, text = command(*arguments, "--image_size=8")
    assert (code, text.strip()) == (0, "1 images predicted")


def test_command_rejects_another_number_of_classes(tmp_path, command):
    path = tmp_path / "model.keras"
    brightness_model(3).save(path)
    code, _ = command(f"--model={path}", "--data=digits")
    assert "same number of classes. Received: 3 and 10" in code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "One of `data` and `images` must be given"),
        (["--data=digits", "--images=here"], "One of `data` and `images`"),
        (["--data=digits", "--server_file=out.txt"], "`server_file` must be given"),
        (["--images=x", "--ilsvrc_ids=y"], "`server_file` must be given"),
    ],
)
def test_command_rejects_conflicting_flags(model_file, command, arguments, message):
    code, _ = command(f"--model={model_file}", *arguments)
    assert message in code


def wnid_model(tmp_path):
    """Answers class k of ImageNet's to brightness k, for the first ten."""
    model = brightness_model(1000)
    path = tmp_path / "imagenet.keras"
    model.save(path)
    return path


def test_test_server_file_has_five_numbers_per_image(tmp_path, command):
    write_images(tmp_path / "test", [4, 2])
    wnids = [wnid for wnid, _ in imagenet_classes()]
    # Any order serves the test; the real one is in the development kit.
    (tmp_path / "ids.txt").write_text("\n".join(reversed(wnids)) + "\n")
    code, text = command(
        f"--model={wnid_model(tmp_path)}",
        f"--images={tmp_path / 'test'}",
        f"--ilsvrc_ids={tmp_path / 'ids.txt'}",
        f"--server_file={tmp_path / 'server.txt'}",
        "--crop_ratio=1",
        "--interpolation=bilinear",
    )
    assert code == 0
    assert "2 images predicted" in text
    # Classes 4, then 3 and 5 with equal scores, then 2 and 6; counted from the end.
    lines = (tmp_path / "server.txt").read_text().splitlines()
    assert lines == ["996 997 995 998 994", "998 999 997 1000 996"]


def test_subset_of_imagenet_is_matched_by_name(tmp_path, command):
    # English names and WordNet ids, in another order than the network's.
    names = ["great white shark", "goldfish", "n01440764"]  # classes 2, 1 and 0
    for i, name in zip((2, 1, 0), names, strict=True):
        for split in ("train", "validation"):
            write_images(tmp_path / "photos" / split / name, [i, i])
    code, text = command(
        f"--model={wnid_model(tmp_path)}",
        f"--data=folder:{tmp_path / 'photos'}",
        "--crop_ratio=1",
        "--interpolation=bilinear",
    )
    assert (code, text.split()[1]) == (0, "100.00%")


def test_unlabelled_images_have_names_relative_to_their_folder(tmp_path):
    write_images(tmp_path / "b", [10])
    write_images(tmp_path / "a", [20, 30])
    split = evaluate._unlabelled(str(tmp_path))
    assert list(split.names) == ["a/000.png", "a/001.png", "b/000.png"]
    assert set(split.labels) == {sources.UNKNOWN}
    with pytest.raises(ValueError, match="A folder of images must exist"):
        evaluate._unlabelled(str(tmp_path / "missing"))


def test_calibrated_run_prints_both_scores_and_the_rejected_share(
    tmp_path, model_file, command
):
    # Three classes of certain answers; the temperature makes them uncertain.
    points = (OperatingPoint(0.0, 100, 90), OperatingPoint(0.5, 60, 59))
    CalibrationRecord(2.0, "validation", 100, points).write(model_file.parent)
    for label in range(10):
        write_images(tmp_path / "photos" / "train" / str(label), [label] * 2)
        write_images(tmp_path / "photos" / "validation" / str(label), [label])
    write_images(tmp_path / "others", [0, 5, 9])
    arguments = (
        f"--model={model_file}",
        f"--data=folder:{tmp_path / 'photos'}",
        "--crop_ratio=1",
        "--interpolation=bilinear",
        f"--output_dir={tmp_path / 'out'}",
    )
    code, text = command(
        *arguments, "--reject_precision=0.95", f"--unknown={tmp_path / 'others'}"
    )
    assert code == 0
    # By hand: class k of an image of value v has logit -(k - v)**2 / 2.
    rest = sum(math.exp(-(k**2) / 2) for k in range(1, 10))
    ends = 1 / (1 + rest)
    assert ends > 0.5
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["calibration"]
    assert found["temperature"] == 2.0
    assert found["reject_threshold"] == 0.5
    # Only the first and the last class have neighbours on one side.
    assert found["accepted"] == pytest.approx(0.2)
    assert found["accepted_precision"] == 1.0
    assert found["unknown_rejected"] == pytest.approx(1 / 3)
    assert found["after"]["nll"] > found["before"]["nll"]
    assert "(before calibration: ECE " in text
    assert "accepted 20.00% at threshold 0.5000" in text
    assert "rejected 33.33% of 3 images of other classes" in text
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["recognised"] for row in rows] == ["yes", *["no"] * 8, "yes"]
    assert float(rows[0]["probability_1"]) == pytest.approx(ends, rel=1e-4)
    code, text = command(*arguments, "--nocalibrate", f"--unknown={tmp_path}")
    assert "`unknown` needs `data` and a rejection threshold" in code
