"""Names, columns and files that users' scripts rely on."""

import importlib
import inspect
import re

import pytest

import keras_efficientnet
from tests.support.paths import ROOT

PUBLIC_NAMES = {
    *("STAGES", "VARIANTS", "Cost", "EfficientNet", "EvalPreprocessing", "Scaling"),
    *("Stage", "WeightFile", "check_input_range", "class_maps", "compound"),
    *("decode_predictions", "feature_extractor", "fit_budget", "format_stages"),
    *("freeze", "from_phi", "list_weights", "load_weights", "plan_cost"),
    *("preprocess_input", "profile", "read_stages", "reset_classifier"),
    *("round_filters", "round_repeats", "weights_info"),
    *(f"EfficientNetB{i}" for i in range(9)),
    *(f"EfficientNetLite{i}" for i in range(5)),
    *(
        f"EfficientNetV2{size}"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L", "XL")
    ),
    *(f"EfficientNetEdgeTPU{size}" for size in "SML"),
    "EfficientNetL2",
}
PROGRAMS = {
    "efficientnet-train": "training.main",
    "efficientnet-evaluate": "training.evaluate",
    "efficientnet-pseudo-label": "training.pseudo_label",
    "efficientnet-prepare": "training.prepare",
    "efficientnet-inspect-data": "training.inspect_data",
    "efficientnet-export": "export.main",
    "efficientnet-predict": "export.predict",
    "efficientnet-batch-predict": "export.batch_predict",
    "efficientnet-study": "research.main",
    "efficientnet-convert": "keras_efficientnet.weights.convert",
}
RECIPES = {
    *("advprop", "digits", "finetune", "imagenet", "imagenet_randaugment"),
    *("imagenet_v2", "imagenet21k_v2", "noisy_student", "transfer"),
}
ARTEFACTS = {
    "saved_model": "saved_model",
    "tflite": "model_float32.tflite",
    "tflite_float16": "model_float16.tflite",
    "tflite_dynamic": "model_dynamic.tflite",
    "tflite_int8": "model_int8.tflite",
    "tflite_int16x8": "model_int16x8.tflite",
    "onnx": "model.onnx",
    "openvino": "openvino",
    "onnx_int8": "model_int8.onnx",
    "openvino_int8": "openvino_int8",
    "web": "web",
}
SUMMARY_KEYS = {
    *("model", "trainable_parameters", "steps", "best_epoch", "best_validation_top1"),
    *("final_split", "final_images", "final_loss", "final_top1", "final_top5"),
    *("seconds", "seconds_to_first_step"),
}


def test_public_names():
    assert set(keras_efficientnet.__all__) >= PUBLIC_NAMES


@pytest.mark.parametrize("command", PROGRAMS)
def test_every_command_runs_its_program(command):
    module = importlib.import_module(PROGRAMS[command])
    assert callable(getattr(module, "run", None) or module.main)
    assert f'"{command}=' in (ROOT / "setup.py").read_text()


def test_recipe_names():
    found = {path.stem for path in (ROOT / "training/configs").glob("[!_]*.py")}
    assert found >= RECIPES


def test_artefact_names():
    from export.formats.registry import FORMATS

    assert {name: row.artefact for name, row in FORMATS.items()}.items() >= (
        ARTEFACTS.items()
    )


def test_first_arguments_of_python_functions():
    import export
    from training.engine.trainer import train
    from training.fine_tune import fine_tune

    for function, first in (
        (export.export_model, ["model"]),
        (fine_tune, ["model"]),
        (train, ["config", "workdir"]),
    ):
        names = list(inspect.signature(function).parameters)
        assert names[: len(first)] == first


def test_metric_columns_and_summary_keys():
    from training.engine import finalize
    from training.metrics.metrics import Scores
    from training.reporting.metric_writers import METRICS

    assert (
        *("epoch", "step", "learning_rate", "train_loss", "train_top1"),
        *("validation_loss", "validation_top1", "validation_top5", "seconds"),
    ) == METRICS
    written = re.findall(
        r'^        "(\w+)":', inspect.getsource(finalize._summarize), re.M
    )
    scores = {f"final_{field}" for field in Scores.__dataclass_fields__}
    assert set(written) | scores == SUMMARY_KEYS
