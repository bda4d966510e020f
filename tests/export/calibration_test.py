"""Calibration and rejection threshold of a run, in its exports and predictions."""

import json
import shutil

import numpy as np
import pytest

import export
from export.batch.classifier import Classifier
from export.batch.options import ModelOptions
from export.loading import load
from export.predict import format_json, format_text, predict
from keras_efficientnet.calibration.record import CalibrationRecord
from keras_efficientnet.calibration.thresholds import OperatingPoint
from keras_efficientnet.common import sidecars
from tests.support import export_run
from training.metrics.confidence import scale

TEMPERATURE = 4.0
POINTS = (OperatingPoint(0.0, 100, 90), OperatingPoint(0.5, 90, 88))


@pytest.fixture(scope="module")
def pixels():
    images = [export_run.pictures(label, 3, seed=5) for label in export_run.LABELS]
    return np.concatenate(images)[:, 4:36, 8:40].astype(np.float32)


@pytest.fixture(scope="module")
def threshold(pixels):
    """Threshold that accepts six of the twelve images, by a clear margin."""
    plain = load(export_run.run_folder()).classify(pixels)
    confidences = np.sort(scale(plain, TEMPERATURE).max(axis=1))
    assert confidences[6] - confidences[5] > 1e-3
    return float(confidences[5:7].mean())


@pytest.fixture(scope="module")
def run(tmp_path_factory, threshold):
    """A run folder with a calibration, and its export to TFLite."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(
        export_run.run_folder(), folder, ignore=shutil.ignore_patterns("export")
    )
    record = CalibrationRecord(TEMPERATURE, "minival", 100, POINTS, 0.99, threshold)
    record.write(folder)
    export.export_model(folder, ["tflite"], unknown=verification(folder))
    return folder


def verification(run):
    return run / "samples" / "verification"


def artefact(run):
    return run / "export" / "model_float32.tflite"


def test_run_and_export_give_the_same_calibrated_probabilities(run, pixels, threshold):
    plain = load(run, calibrate=False)
    assert plain.reject_threshold is None
    wanted = scale(plain.classify(pixels), TEMPERATURE)
    for model in (run, run / "model.keras", artefact(run)):
        loaded = load(model)
        np.testing.assert_allclose(loaded.classify(pixels), wanted, atol=1e-5)
        assert loaded.reject_threshold == threshold


def test_export_adds_no_layer_or_operation(run, pixels):
    names = [layer.name for layer in load(run).runner.model.layers]
    plain = load(run, calibrate=False).runner.model
    assert names == [layer.name for layer in plain.layers]


def test_export_reports_and_stores_the_calibration(run, threshold):
    report = json.loads((run / "export" / "report.json").read_text())
    assert report["temperature"] == TEMPERATURE
    assert report["reject_threshold"] == threshold
    text = (run / "export" / "preprocessing.json").read_text()
    assert json.loads(text)["reject_threshold"] == threshold


def test_predictions_say_which_images_are_not_recognised(run, threshold):
    images = sorted(verification(run).rglob("*.png"))
    answers = [list(predict(load(model), images)) for model in (run, artefact(run))]
    verdicts = [[p.is_recognised for p in found] for found in answers]
    assert (
        verdicts[0]
        == verdicts[1]
        == [p.probabilities[0] >= threshold for p in answers[0]]
    )
    assert len(set(verdicts[0])) == 2
    rejected = [p for p in answers[0] if not p.is_recognised]
    assert "not recognised; best guesses" in format_text(rejected[:1])
    assert json.loads(format_json(rejected[:1]))[0]["recognised"] is False


def test_export_reports_the_share_of_rejected_images(run):
    images = sorted(verification(run).rglob("*.png"))
    share = np.mean([not p.is_recognised for p in predict(load(run), images)])
    assert 0 < share < 1
    report = json.loads((run / "export" / "report.json").read_text())
    assert report["unknown_rejected"] == pytest.approx(share)
    assert report["artefacts"][0]["unknown_rejected"] == pytest.approx(share)
    page = (run / "export" / "report.md").read_text()
    assert f"rejects {share:.1%} of {len(images)} images of other classes" in page
    assert "| others rejected |" in page.replace("  ", " ")


def test_rejects_unknown_images_without_a_threshold(tmp_path):
    with pytest.raises(ValueError, match="`unknown` needs a rejection threshold"):
        export.export_model(export_run.run_folder(), ["tflite"], unknown=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved_model", "onnx", "openvino", "web"])
def test_every_format_gives_calibrated_probabilities(name, run, pixels, tmp_path):
    (result,) = export.export_model(run, [name], output_dir=tmp_path)
    wanted = scale(load(run, calibrate=False).classify(pixels), TEMPERATURE)
    loaded = load(result.path)
    # The web page's weights are in float16.
    atol = 5e-3 if name == "web" else 1e-4
    np.testing.assert_allclose(loaded.classify(pixels), wanted, atol=atol)
    assert loaded.reject_threshold == load(run).reject_threshold


def test_models_without_a_threshold_keep_their_output(pixels):
    loaded = load(export_run.run_folder())
    assert loaded.recognises(0.1) is None
    images = sorted((export_run.run_folder() / "samples").rglob("*.png"))[:1]
    (found,) = predict(loaded, images)
    assert "recognised" not in format_json([found])
    assert "not recognised" not in format_text([found])


def test_batch_prediction_adds_a_column(run, pixels, threshold):
    loaded = load(run)
    classifier = Classifier(loaded, ModelOptions(str(run)), None)
    found = classifier.classify(_decoded(pixels))
    assert found.recognised == [row[0] >= threshold for row in found.scores]
    plain = load(run, calibrate=False)
    rows = Classifier(plain, ModelOptions(str(run)), None).classify(_decoded(pixels))
    assert "recognised" not in rows.columns()


def test_mediapipe_returns_no_class_for_rejected_images(run, pixels, threshold):
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=str(artefact(run)))
    )
    wanted = [row.max() >= threshold for row in load(run).classify(pixels)]
    assert len(set(wanted)) == 2
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, is_recognised in zip(pixels, wanted, strict=True):
            picture = mp.Image(
                image_format=mp.ImageFormat.SRGB, data=image.astype(np.uint8)
            )
            (found,) = classifier.classify(picture).classifications
            assert bool(found.categories) == is_recognised


def test_another_precision_takes_another_threshold(run):
    assert load(run, reject_precision=0.95).reject_threshold == 0.5
    with pytest.raises(ValueError, match=r"the best precision is 0\.9778"):
        load(run, reject_precision=0.99)


def test_rejects_a_precision_without_a_calibration(run):
    for options in ({"model": run, "calibrate": False}, {"model": artefact(run)}):
        with pytest.raises(ValueError, match="`reject_precision` needs a run folder"):
            load(**options, reject_precision=0.9)


def test_rejects_a_threshold_outside_of_0_to_1():
    text = '{"image_size": 32, "output_activation": "softmax", "reject_threshold": 1.5}'
    with pytest.raises(ValueError, match="a probability, 0 to 1"):
        sidecars.parse_preprocessing(text, "preprocessing.json")


def _decoded(pixels):
    from export.batch.classifier import DecodedImages

    names = tuple(f"{i}.png" for i in range(len(pixels)))
    return DecodedImages(names, {}, pixels)
