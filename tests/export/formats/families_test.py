"""Export of EfficientNetV2 and EfficientNet-EdgeTPU, verified on images."""

import resource
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import export
import keras_efficientnet
from export import latency
from export.formats.registry import FORMATS
from keras_efficientnet.cost.tflite_latency import Latency
from keras_efficientnet.preprocessing import EvalPreprocessing
from tests.support import export_run
from tests.support.npm_packages import fake_litert
from tests.support.paths import ROOT

FLOAT = ("saved_model", "tflite", "tflite_float16", "onnx", "openvino")
RESIDUAL_SCALE = 0.1  # of the branch beside a skip connection, whose scale is 1
MAX_BYTES = 16 << 30  # of a process that exports the largest network
ABOVE_CHANCE = 0.5  # top-1 of four classes; the features are random


@pytest.fixture(autouse=True)
def no_latency(monkeypatch):
    """Skips the latency measurement."""
    monkeypatch.setattr(latency, "measure_artefact", lambda *_: Latency(1.0, 1.0))


def fitted(build, size, count, **options):
    """Returns a network that separates the four classes of the test images."""
    keras.utils.set_random_seed(0)
    model = build(
        weights=None,
        input_shape=(size, size, 3),
        classes=len(export_run.LABELS),
        bn_momentum=0.0,
        dropout=0.0,
        drop_connect=0.0,
        **options,
    )
    export_run.average_in_space(model)
    damp_residuals(model)
    export_run.fit(model, EvalPreprocessing(size, 0.8), count)
    return model


def damp_residuals(model):
    """Makes the blocks with a skip connection add little to their input.

    A deep network of ordinary random weights amplifies every rounding error.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            branch = last_normalization(layer.input[0])
            branch.gamma.assign(RESIDUAL_SCALE + 0 * branch.gamma)


def last_normalization(tensor):
    """Returns the batch normalisation that ends the branch of a tensor."""
    layer = tensor._keras_history.operation
    while not isinstance(layer, keras.layers.BatchNormalization):
        layer = layer.input._keras_history.operation
    return layer


def check(model, formats, folder, count=3):
    """Exports a network and returns Keras' accuracy; each format must pass."""
    export_run.write_pictures(folder / "calibration", count, seed=2)
    export_run.write_pictures(folder / "verification", count, seed=3)
    results = export.export_model(
        model,
        [*formats],
        labels=export_run.LABELS,
        calibration=folder / "calibration",
        verify=folder / "verification",
        output_dir=folder / "out",
        crop_ratio=0.8,
    )
    assert [result.format for result in results] == [*formats]
    assert [result.problems for result in results] == [()] * len(formats)
    return results[0].comparison.keras_top1


@pytest.mark.parametrize("family", ["v2", "edgetpu"])
def test_shallow_networks_agree_with_keras(family, tmp_path, capsys):
    def build(**options):
        return keras_efficientnet.EfficientNet(0.25, 0.3, 32, family=family, **options)

    assert check(fitted(build, 32, 48), ("tflite",), tmp_path) > ABOVE_CHANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["V2B0", "V2B1", "V2B2", "V2B3", "V2S", "EdgeTPUS", "EdgeTPUM"]
)
def test_every_format_agrees_with_keras(name, tmp_path, monkeypatch, capsys):
    fake_litert(tmp_path, monkeypatch)
    build = getattr(keras_efficientnet, f"EfficientNet{name}")
    assert check(fitted(build, 64, 48), FORMATS, tmp_path) > ABOVE_CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["V2M", "V2L", "V2XL", "EdgeTPUL"])
def test_float_formats_of_large_networks_agree_with_keras(name, tmp_path):
    command = [sys.executable, "-c", EXPORT, f"EfficientNet{name}", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[-1])
    assert peak < MAX_BYTES, f"{peak / 2**30:.1f} GiB"


# In a process of its own, so that its memory can be measured.
EXPORT = """
import sys
from tests.export.formats import families_test
families_test.export_float_formats(*sys.argv[1:])
"""


def export_float_formats(name, folder):
    """Exports a network in the float formats and prints the peak memory in bytes."""
    latency.measure_artefact = lambda *_: Latency(1.0, 1.0)
    build = getattr(keras_efficientnet, name)
    check(fitted(build, 64, 12), FLOAT, Path(folder), count=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
