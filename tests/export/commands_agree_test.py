"""Evaluate, predict and export treat the same model in the same way."""

import json

import keras
import numpy as np
import pytest
from absl import flags
from PIL import Image

from export import latency, main, predict
from keras_efficientnet import efficientnet
from keras_efficientnet.cost.tflite_latency import Latency
from training import evaluate

GREY = (40, 80, 120, 160)  # of the images of each class
LABELS = ("a", "b", "c", "d")


def write_model(folder, end="softmax", outputs=4):
    """Writes a network that predicts the class with the nearest grey value."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    dense = keras.layers.Dense(outputs, end)
    model = keras.Model(inputs, dense(x / 100))
    grey = np.float32(GREY) / 100
    # Minus half the squared distance, without the terms common to all classes.
    kernel, bias = np.tile(grey / 3, (3, 1)), -0.5 * grey**2
    if outputs == 1:  # the second half
        kernel, bias = np.full((3, 1), 1 / 3), np.float32([-1.0])
    scale = 60 if outputs == 1 else 4
    dense.set_weights([scale * kernel, scale * bias])
    folder.mkdir(exist_ok=True)
    model.save(folder / "model.keras")
    return model


def write_images(folder, labels=LABELS, greys=GREY):
    for label, grey in zip(labels, greys, strict=True):
        (folder / label).mkdir(parents=True)
        for i in range(5):
            pixels = np.full((8, 8, 3), grey + i, np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture
def commands(monkeypatch, capsys, tmp_path):
    """Runs each command on a model; returns exit codes, outputs and errors by name."""
    monkeypatch.setattr(latency, "measure_artefact", lambda *_: Latency(1.0, 1.0))
    images = tmp_path / "images"

    def parse(define, *arguments):
        values = flags.FlagValues()
        define(values)
        return values, values(["command", *map(str, arguments)])

    def run_evaluate(model, *options):
        data = f"--data=folder:{images}"
        arguments = [f"--model={model}", data, "--split=train", *options]
        values, _ = parse(evaluate.define_flags, *arguments)
        monkeypatch.setattr(flags, "FLAGS", values)
        try:
            evaluate._main(["evaluate"])
        except SystemExit as end:
            code = end.code
        else:
            return 0, *capsys.readouterr()
        return code, "", capsys.readouterr().err

    def run_predict(model, *options):
        values, argv = parse(predict.define_flags, model, images, "--json", *options)
        return predict.main(argv, values), *capsys.readouterr()

    def run_export(model, *options):
        arguments = [f"--model={model}", "--formats=tflite", f"--verify={images}"]
        output = f"--output_dir={tmp_path / 'out'}"
        values, argv = parse(main.define_flags, *arguments, output, *options)
        return main.main(argv, values), *capsys.readouterr()

    return {"evaluate": run_evaluate, "predict": run_predict, "export": run_export}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"a\nb\n\nd\n", "A class name must not be empty."),
        (b"a\nb\nb\nd\n", "Class names must be distinct."),
        (b"a\nb\nc\n", "A model must have one label per class."),
        (b"a\nb\nc\nd\ne\n", "A model must have one label per class."),
        (b"a\nb\nc\n\xe9\n", "labels.txt must be UTF-8 text"),
    ],
)
def test_all_reject_unfit_labels(labels, message, commands, tmp_path):
    write_model(tmp_path / "run")
    write_images(tmp_path / "images")
    (tmp_path / "run" / "labels.txt").write_bytes(labels)
    for name, command in commands.items():
        code, _, error = command(tmp_path / "run")
        assert code != 0, name
        assert message in error, name


def test_all_reject_nan(commands, tmp_path):
    model = write_model(tmp_path / "run")
    model.layers[-1].bias.assign([np.nan] * 4)
    model.save(tmp_path / "run" / "model.keras")
    write_images(tmp_path / "images")
    (tmp_path / "run" / "labels.txt").write_text("a\nb\nc\nd\n")
    for name, command in commands.items():
        code, out, error = command(tmp_path / "run")
        assert code != 0, name
        assert "outputs of a model must be finite numbers" in error, name
        assert not out, name


def test_all_reject_unknown_activations(commands, tmp_path):
    write_model(tmp_path / "run", "relu")
    write_images(tmp_path / "images")
    for name, command in commands.items():
        code, _, error = command(tmp_path / "run")
        assert code != 0, name
        assert "with activation relu" in error, name


@pytest.mark.parametrize("end", ["softmax", None, "sigmoid"])
def test_all_interpret_outputs_by_their_activation(end, commands, tmp_path):
    write_model(tmp_path / "run", end)
    write_images(tmp_path / "images")
    (tmp_path / "run" / "labels.txt").write_text("a\nb\nc\nd\n")
    code, out, _ = commands["evaluate"](tmp_path / "run")
    assert code == 0
    assert "top-1 100.00%" in out
    assert commands["export"](tmp_path / "run")[0] == 0
    written = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert written["output_activation"] == (end or "linear")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["artefacts"][0]["top1"] == 1
    for model in (tmp_path / "run", tmp_path / "out" / "model_float32.tflite"):
        code, out, _ = commands["predict"](model)
        assert code == 0
        for found in json.loads(out):
            chances = [row["probability"] for row in found["classes"]]
            assert f"/{found['classes'][0]['label']}/" in found["image"]
            assert all(0 <= chance <= 1 for chance in chances)
            if end != "sigmoid":
                assert sum(chances) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("end", [None, "sigmoid"])
def test_all_read_one_output_as_two_classes(end, commands, tmp_path):
    write_model(tmp_path / "run", end, outputs=1)
    write_images(tmp_path / "images", ("dark", "light"), (40, 160))
    (tmp_path / "names.txt").write_text("dark\nlight\n")
    option = f"--labels={tmp_path / 'names.txt'}"
    code, out, _ = commands["evaluate"](tmp_path / "run", option)
    assert code == 0
    assert "top-1 100.00%" in out
    assert commands["export"](tmp_path / "run", option)[0] == 0
    for found in json.loads(commands["predict"](tmp_path / "run", option)[1]):
        assert f"/{found['classes'][0]['label']}/" in found["image"]
    # sigmoid(60 * (40 / 100 - 1)) is almost 0, sigmoid(60 * (1.6 - 1)) almost 1.
    assert found["classes"][0]["probability"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("variant", "options", "wanted"),
    [
        # Golden: the factories' own defaults, docs/models.md.
        ("EfficientNetLite0", (), "imagenet"),
        ("EfficientNetB8", (), "randaugment"),
        ("EfficientNetB8", ("--weights=",), "randaugment"),
        ("EfficientNetB8", ("--weights=advprop",), "advprop"),
    ],
)
def test_all_load_the_same_weights_of_a_variant(
    variant, options, wanted, commands, tmp_path, monkeypatch
):
    loaded = []

    def factory(weights, classes=1000):
        loaded.append(weights)
        inputs = keras.Input((None, None, 3))
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        return keras.Model(inputs, keras.layers.Dense(1000, "softmax")(x / 255))

    monkeypatch.setattr(efficientnet, variant, factory)
    write_images(tmp_path / "images", ("tench", "goldfish"), (40, 160))
    for name, command in commands.items():
        assert command(variant, "--image_size=32", *options)[0] == 0, name
    assert loaded == [wanted] * len(commands)


def test_all_keep_unusual_class_names(commands, tmp_path):
    names = ("a\rb", "c\vd", "e\x85f", "g\u2028h")
    write_model(tmp_path / "run")
    write_images(tmp_path / "images", names)
    text = "".join(f"{name}\n" for name in names)
    (tmp_path / "run" / "labels.txt").write_bytes(text.encode())
    assert "top-1 100.00%" in commands["evaluate"](tmp_path / "run")[1]
    assert commands["export"](tmp_path / "run")[0] == 0
    artefact = tmp_path / "out" / "model_float32.tflite"
    found = json.loads(commands["predict"](artefact)[1])
    assert {row["classes"][0]["label"] for row in found} == set(names)
