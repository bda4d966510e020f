"""Multi-label models: thresholds in every format, verification and MediaPipe."""

import csv
import functools
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image

import export
from export import batch_predict, label_agreement, loading, predict
from export.formats.registry import FORMATS
from keras_efficientnet.calibration.record import CalibrationRecord
from keras_efficientnet.calibration.thresholds import scale_thresholds
from keras_efficientnet.common.sidecars import PREPROCESSING_FILE, read_sidecars
from keras_efficientnet.preprocessing.tf_files import read_image
from tests.support import export_run
from tests.support.shared import shared
from training.metrics.confidence import scale_labels

THRESHOLDS = (0.9, 0.95, 0.8, 0.9999)  # too high for most images of darkness


@functools.cache
def network():
    """Returns the tiny run's network with sigmoids in place of the softmax."""
    twin = export_run.tiny_network(2, classifier_activation="sigmoid")
    twin.set_weights(export_run.fitted_network().get_weights())
    return twin


@shared
def multi_label_run(folder):
    """Returns a run folder like one that training with several labels writes."""
    network().save(folder / "model.keras")
    (folder / "labels.txt").write_text("".join(f"{n}\n" for n in export_run.LABELS))
    fields = {"image_size": export_run.SIZE, "crop_ratio": 0.8}
    fields |= {"output_activation": "sigmoid", "thresholds": THRESHOLDS}
    (folder / PREPROCESSING_FILE).write_text(json.dumps(fields))
    for part, seed in (("calibration", 2), ("verification", 3)):
        images = folder / "samples" / part
        images.mkdir(parents=True)
        rows = [["path", "label"]]
        for label in export_run.LABELS:
            for i, pixels in enumerate(export_run.pictures(label, 6, seed)):
                name = f"{label}{i}.png"
                Image.fromarray(pixels).save(images / name)
                rows.append([name, label if i else ""])
        with (images / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@shared
def multi_label_export(folder):
    """Exports the run to TFLite; returns the result and the folder."""
    return export.export_model(multi_label_run(), ["tflite"], output_dir=folder), folder


def test_verification_reports_labels_and_map():
    (result,), folder = multi_label_export()
    found = result.comparison.labels
    assert not result.problems
    assert found.differing == 0
    assert found.keras_labels >= 12  # half of the images at least
    assert found.map == pytest.approx(found.keras_map, abs=1e-6)
    assert result.comparison.top1 is None
    report = (folder / "report.md").read_text()
    assert "| mAP Keras | mAP |" in report.replace("  ", " ")
    (artefact,) = json.loads((folder / "report.json").read_text())["artefacts"]
    assert artefact["map"] == found.map


def test_thresholds_are_in_the_sidecar_and_in_the_artefact(tmp_path):
    (result,), folder = multi_label_export()
    assert read_sidecars(folder).thresholds == THRESHOLDS
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(result.path.read_bytes())
    loaded = loading.load(alone)
    assert loaded.thresholds == THRESHOLDS
    assert loaded.output_activation == "sigmoid"


def test_mediapipe_returns_classes_above_the_lowest_threshold():
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    (result,), _ = multi_label_export()
    pixels = np.concatenate([export_run.pictures(n, 3, 5) for n in export_run.LABELS])
    pixels = np.ascontiguousarray(pixels[:, 4:36, 8:40])
    expected = network().predict(pixels.astype(np.float32), verbose=0)
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(result.path))
    )
    counts = set()
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, scores in zip(pixels, expected, strict=True):
            data = mp.Image(image_format=mp.ImageFormat.SRGB, data=image)
            (found,) = classifier.classify(data).classifications
            clear = np.abs(scores - 0.8) > 0.02
            names = {c.category_name for c in found.categories}
            for name, score in zip(
                np.array(export_run.LABELS)[clear], scores[clear], strict=True
            ):
                assert (name in names) == (score > 0.8)
            counts.add(len(names))
    assert min(counts) < 4


def small_model(activation):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(4, activation=activation)(x))


def run(module, *arguments):
    values = flags.FlagValues()
    module.define_flags(values)
    argv = values([module.__name__, *map(str, arguments)])
    return module.main(argv, values)


def test_predict_and_batch_predict_list_all_labels_above_their_threshold(
    tmp_path, capsys
):
    (result,), _ = multi_label_export()
    expected = [list(labels) for labels in result.comparison.labels.predictions]
    assert {len(labels) for labels in expected} >= {0, 1}
    listed = multi_label_run() / "samples" / "verification" / "labels.csv"
    with listed.open(newline="") as file:
        images = [listed.parent / row["path"] for row in csv.DictReader(file)]
    assert run(predict, result.path, *images, "--json", "--top=1") == 0
    found = json.loads(capsys.readouterr().out)
    for image, labels in zip(found, expected, strict=True):
        assert sorted(entry["index"] for entry in image["classes"]) == labels
        for entry in image["classes"]:
            assert entry["threshold"] == THRESHOLDS[entry["index"]]
            assert entry["probability"] >= entry["threshold"] - 1e-6
    output = tmp_path / "rows"
    arguments = (f"--model={result.path}", f"--input=csv:{listed}")
    assert run(batch_predict, *arguments, f"--output={output}", "--format=jsonl") == 0
    lines = (output / "part-00000.jsonl").read_text().splitlines()
    assert [sorted(json.loads(line)["classes"]) for line in lines] == expected


def test_thresholds_can_be_chosen_on_the_command_line(tmp_path, capsys):
    (result,), _ = multi_label_export()
    images = sorted((multi_label_run() / "samples" / "verification").glob("*.png"))[:9]
    loaded = loading.load(result.path)
    pixels = [read_image(path, loaded.preprocessing) for path in images]
    scores = loaded.classify(np.stack(pixels))
    assert run(predict, result.path, *images, "--json", "--thresholds=0.3") == 0
    found = json.loads(capsys.readouterr().out)
    sets = [sorted(entry["index"] for entry in image["classes"]) for image in found]
    assert sets == [np.flatnonzero(row >= 0.3).tolist() for row in scores]
    limits = np.array(THRESHOLDS)
    limits[1] = 0.01
    expected = [np.flatnonzero(row >= limits).tolist() for row in scores]
    assert expected != sets
    arguments = [f"--model={result.path}", f"--input={images[0].parent}/*.png"]
    arguments += [f"--output={tmp_path}", "--format=jsonl"]
    choice = f"--thresholds={export_run.LABELS[1]}=0.01"
    assert run(batch_predict, *arguments, choice) == 0
    lines = (tmp_path / "part-00000.jsonl").read_text().splitlines()
    rows = {json.loads(line)["path"]: json.loads(line)["classes"] for line in lines}
    assert [
        next(sorted(v) for k, v in rows.items() if k.endswith(path.name))
        for path in images
    ] == expected
    # Parts with other thresholds must not be mixed.
    assert run(batch_predict, *arguments) == 2
    assert run(predict, result.path, images[0], "--thresholds=cloud=0.5") == 2
    assert "label 'cloud'" in capsys.readouterr().err


def test_images_without_labels_are_listed():
    nothing = predict.Prediction(pathlib.Path("a.png"), (), (), (), thresholds=())
    assert predict.format_text([nothing]) == "a.png\n  no label"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_calibrated_and_keeps_the_thresholds(name, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(multi_label_run(), folder)
    temperatures = (2.0, 0.8, 1.0, 3.0)  # all thresholds stay below 255/256
    CalibrationRecord(temperatures, "validation", 100).write(folder)
    listed = folder / "samples" / "verification" / "labels.csv"
    (result,) = export.export_model(
        folder,
        [name],
        verify=f"csv:{listed}",
        calibration=f"csv:{listed}",
    )
    loaded = loading.load(result.path)
    assert loaded.thresholds == scale_thresholds(THRESHOLDS, temperatures)
    pixels = np.concatenate([export_run.pictures(n, 3, 5) for n in export_run.LABELS])
    pixels = pixels[:, 4:36, 8:40].astype(np.float32)
    plain = network().predict(pixels, verbose=0)
    difference = np.abs(loaded.classify(pixels) - scale_labels(plain, temperatures))
    if (limit := FORMATS[name].max_difference) is not None:
        assert difference.max() <= limit
    assert result.comparison.labels.keras_map is not None


def test_labels_that_differ_are_counted_unless_the_threshold_is_near():
    wanted = np.array([[0.9, 0.2], [0.6, 0.5005], [0.1, 0.1]])
    found = np.array([[0.9, 0.7], [0.4, 0.4999], [0.1, 0.1]])
    sets = np.array([[1, 0], [1, 1], [0, 0]])
    result = label_agreement.compare_labels(
        wanted, found, np.array([0.5, 0.5]), sets, 1e-3
    )
    assert result.predictions == ((0, 1), (), ())
    assert (result.keras_labels, result.differing) == (3, 2)
    assert result.disagreements == (0, 1)
    assert result.agreement == pytest.approx(1 / 3)
    assert (result.keras_map, result.map) == (1.0, 0.75)
    problems = label_agreement.find_label_problems(result, 3, 0.97, 0.01)
    assert problems == [
        "2 labels differ from the 3 of Keras, but at most 0 may (3%)",
    ]
    problems = label_agreement.find_label_problems(result, 100, 0.0, 0.01)
    assert problems == [
        "mAP falls from 100.0% to 75.0%, but may fall by at most 2.0%",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"thresholds": [0.5] * 3},
            "for each of the 4 classes. Received: 3 thresholds",
        ),
        ({"thresholds": [0.5, 0.5, 0.5, 2]}, "numbers from 0 to 1"),
        ({"thresholds": 0.5}, "numbers from 0 to 1"),
    ],
)
def test_rejects_unusable_thresholds_beside_a_model(tmp_path, fields, message):
    small_model("sigmoid").save(tmp_path / "model.keras")
    (tmp_path / PREPROCESSING_FILE).write_text(json.dumps({"image_size": 32} | fields))
    with pytest.raises(ValueError, match=message):
        loading.load(tmp_path)


def test_rejects_thresholds_of_a_model_that_ends_in_softmax(tmp_path):
    small_model("softmax").save(tmp_path / "model.keras")
    fields = {"image_size": 32, "thresholds": [0.5] * 4}
    (tmp_path / PREPROCESSING_FILE).write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="must end in sigmoids"):
        loading.load(tmp_path)
