import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from export import loading, predict
from export.batch import runtime
from export.runtimes.base import TFLiteRunner
from keras_efficientnet.common.image_folders import find_images
from tests.support import export_run, malformed
from tests.support.paths import ROOT


@pytest.fixture
def photos(tmp_path):
    """A folder with a dark, a noisy and a broken image, and a text file."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    dark = export_run.pictures("darkness", 1, seed=9)[0]
    noise = export_run.pictures("noise", 1, seed=9)[0]
    Image.fromarray(dark).save(folder / "dark.png")
    Image.fromarray(noise).save(folder / "deep" / "noise.png")
    (folder / "deep" / "broken.jpg").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(*arguments):
    values = flags.FlagValues()
    predict.define_flags(values)
    argv = values(["predict", *map(str, arguments)])
    return predict.main(argv, values)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "model.keras",
        "export/saved_model",
        "export/model_float32.tflite",
        "export/model_int8.tflite",
    ],
)
def test_every_kind_of_model_predicts_class_names(model, photos, capsys):
    export_run.exported()
    path = os.path.join(export_run.run_folder(), model)
    assert run(path, photos, "--top=2", "--json") == 0
    out, err = capsys.readouterr()
    dark, noise = json.loads(out)
    assert dark["image"] == str(photos / "dark.png")
    assert 1 <= len(dark["classes"]) <= 2
    assert 1 <= len(noise["classes"]) <= 2
    assert dark["classes"][0]["label"] == "darkness"
    assert noise["classes"][0]["label"] == "noise"
    assert noise["classes"][0]["index"] == 2
    assert noise["classes"][0]["probability"] > 0.5
    assert "skipped" in err
    assert "broken.jpg" in err


def test_text_is_aligned(photos, capsys):
    assert run(export_run.run_folder(), photos / "dark.png") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == str(photos / "dark.png")
    assert len(lines) == 4  # all classes, since there are fewer than five
    assert lines[0].startswith("  darkness  ")
    assert len({len(line) for line in lines}) == 1
    assert all(line.endswith("%") for line in lines)


@pytest.mark.slow  # output_pipe_test.py closes the pipe of smaller programs
def test_a_reader_that_exits_first_ends_the_command_silently(photos):
    """As in `efficientnet-predict ... | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "export.predict", str(export_run.run_folder())]
    done = subprocess.run(
        [*command, str(photos / "dark.png")],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    assert "rror" not in done.stderr
    assert "Traceback" not in done.stderr


def test_contact_sheet_is_written(photos, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert run(export_run.run_folder(), photos, f"--contact_sheet={sheet}") == 0
    capsys.readouterr()
    with Image.open(sheet) as picture:
        assert picture.width == 8 + 2 * 184


def test_a_contact_sheet_that_cannot_be_written_is_reported(photos, tmp_path, capsys):
    sheet = tmp_path / "sheet.xyz"
    assert run(export_run.run_folder(), photos, f"--contact_sheet={sheet}") == 2
    assert "Error: " in capsys.readouterr().err


def test_names_that_are_not_utf8_are_printed_and_read_back():
    path = pathlib.Path(os.fsdecode(b"caf\xe9.png"))
    found = [predict.Prediction(path, (0,), ("cat",), (1.0,))]
    text, described = predict.format_text(found), predict.format_json(found)
    assert text.encode().startswith(rb"caf\udce9.png")
    assert os.fsencode(json.loads(described.encode())[0]["image"]) == b"caf\xe9.png"


def test_pipes_and_devices_are_skipped(photos, capsys):
    os.mkfifo(photos / "pipe.jpg")
    with pytest.warns(UserWarning, match=r"not regular files: 1 \(pipe.jpg\)"):
        assert run(export_run.run_folder(), photos, "/dev/zero") == 0
    assert "/dev/zero (zero must be a regular file)" in capsys.readouterr().err


def test_text_without_classes_is_a_list_of_images():
    nothing = predict.Prediction(pathlib.Path("a.png"), (), (), ())
    assert predict.format_text([nothing]).strip() == "a.png"


def test_more_images_than_a_batch_keep_their_order(photos, monkeypatch):
    monkeypatch.setattr("keras_efficientnet.preprocessing.tf_files.BATCH_SIZE", 2)
    dark, noise = photos / "dark.png", photos / "deep" / "noise.png"
    copies = []
    for i in range(3):
        copies.append(photos / f"copy{i}.png")
        copies[-1].write_bytes((noise if i == 1 else dark).read_bytes())
    loaded = loading.load(export_run.run_folder())
    found = list(predict.predict(loaded, copies))
    assert [p.path for p in found] == copies
    assert [p.labels[0] for p in found] == ["darkness", "noise", "darkness"]
    np.testing.assert_allclose([sum(p.probabilities) for p in found], 1, atol=1e-5)


def test_exit_code_is_1_when_no_image_can_be_read(photos, capsys):
    assert run(export_run.run_folder(), photos / "notes.txt", "nowhere.png") == 1
    err = capsys.readouterr().err
    assert "nowhere.png" in err
    assert "Error: none of 2 images could be read" in err


def test_decompression_bomb_is_skipped(tmp_path, capsys):
    path = tmp_path / "bomb.png"
    path.write_bytes(malformed.bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run(export_run.run_folder(), path) == 1
    assert "at most 50 megapixels" in capsys.readouterr().err
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kB; the pixels would take 2.7 GB


def test_exit_code_is_2_for_an_unknown_model(photos, capsys):
    assert run("EfficientNetB99", photos) == 2
    assert "Error: A model must be" in capsys.readouterr().err


def test_exit_code_is_2_without_images(capsys):
    assert run("EfficientNetB0") == 2
    assert "Usage: predict MODEL IMAGE_OR_FOLDER" in capsys.readouterr().err


def test_classes_of_zero_probability_are_omitted():
    scores = np.array([0.0, 0.25, 0.0, 0.75], np.float32)
    loaded = dataclasses.replace(
        loading.load(export_run.run_folder()), labels=tuple("abcd")
    )
    found = predict._best("x.png", scores, loaded, top=3)
    assert found.labels == ("d", "b")
    assert found.probabilities == (0.75, 0.25)


def test_top_must_be_at_least_1(photos):
    loaded = loading.load(export_run.run_folder())
    with pytest.raises(ValueError, match=r"at least 1. Received: top=0"):
        list(predict.predict(loaded, [photos / "dark.png"], top=0))


def test_many_images_have_the_same_answers_in_litert(photos, monkeypatch):
    loaded = loading.load(export_run.run_folder())
    export_run.write_pictures(photos / "more", 9, seed=4)
    paths = find_images([str(photos)])
    wanted = list(predict.predict(loaded, paths))
    monkeypatch.setattr(runtime, "MIN_IMAGES", 10)
    assert isinstance(runtime.accelerate(loaded, paths).runner, TFLiteRunner)
    found = list(predict.predict(loaded, paths))
    assert len(found) == len(paths) - 1 == 38
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.path, ours.indices) == (theirs.path, theirs.indices)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)


def test_models_that_litert_computes_otherwise_stay_in_keras(photos, monkeypatch):
    loaded = loading.load(export_run.run_folder())
    monkeypatch.setattr(runtime, "MIN_IMAGES", 1)
    monkeypatch.setattr(runtime, "MAX_DIFFERENCE", -1.0)
    assert runtime.accelerate(loaded, [photos / "dark.png"]) is loaded


def test_tflite_files_use_all_processors_for_many_images(photos, monkeypatch):
    export_run.exported()
    path = os.path.join(export_run.run_folder(), "export", "model_int8.tflite")
    loaded = loading.load(path)
    paths = [photos / "dark.png", photos / "deep" / "noise.png"] * 3
    wanted = list(predict.predict(loaded, paths))
    monkeypatch.setattr(runtime, "MIN_IMAGES", 2)
    monkeypatch.setattr(runtime, "usable_processors", lambda: 3)
    assert list(predict.predict(loaded, paths)) == wanted
    assert runtime.accelerate(loaded, paths) is not loaded
