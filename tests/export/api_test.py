import dataclasses
import json
import shutil

import keras
import pytest

import export
from export import api
from export.formats import registry, tflite
from export.formats.registry import FORMATS
from tests.support import export_run
from tests.support.image_files import write_images


def only_sky(tmp_path):
    """Returns a folder of few images, for fast verification."""
    source = export_run.run_folder() / "samples" / "verification" / "sky"
    return shutil.copytree(source, tmp_path / "images" / "sky").parent


def with_writer(monkeypatch, name, write):
    row = dataclasses.replace(FORMATS[name], write=write)
    monkeypatch.setitem(registry.FORMATS, name, row)


def test_every_format_passes_on_real_images():
    results = export_run.exported()
    assert [result.format for result in results] == [n for n in FORMATS if n != "web"]
    for result in results:
        assert result.problems == ()
        assert result.comparison.images == 48
        assert result.comparison.agreement >= 0.97
        assert result.comparison.keras_top1 > 0.8
        assert 0 < result.latency.median_ms <= result.latency.p95_ms
    assert results[0].comparison.max_difference <= 1e-5
    assert results[1].comparison.max_difference <= 1e-4


def test_folder_contains_artefacts_sidecars_and_report_only():
    export_run.exported()
    folder = export_run.run_folder() / "export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "artefacts.png",
        "labels.txt",
        "model.onnx",
        "model_dynamic.tflite",
        "model_float16.tflite",
        "model_float32.tflite",
        "model_int16x8.tflite",
        "model_int8.onnx",
        "model_int8.tflite",
        "openvino",
        "openvino_int8",
        "preprocessing.json",
        "report.json",
        "report.md",
        "saved_model",
        "verification.png",
    ]


def test_tampered_artefact_fails_and_is_renamed(monkeypatch, tmp_path):
    other = export_run.fitted_network(seed=7)
    with_writer(
        monkeypatch,
        "tflite",
        lambda source, path: tflite.write_float32(
            dataclasses.replace(source, model=other), path
        ),
    )
    good = tmp_path / "model_float32.tflite"
    good.write_bytes(b"from an earlier export")
    with pytest.raises(
        export.VerificationError, match=r"tflite: probabilities differ .*\.failed"
    ):
        export.export_model(
            export_run.run_folder(),
            ["tflite"],
            verify=only_sky(tmp_path),
            output_dir=tmp_path,
        )
    assert not good.exists()
    assert (tmp_path / "model_float32.tflite.failed").stat().st_size > 100_000
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["artefacts"][0]["problems"][0].startswith("probabilities differ by")
    assert "FAILED" in (tmp_path / "report.md").read_text()


def test_error_midway_leaves_nothing_behind(monkeypatch, tmp_path):
    def write(source, path):
        path.write_bytes(b"half of it")
        raise OSError("disk full")

    with_writer(monkeypatch, "tflite", write)
    output_dir = tmp_path / "export"
    with pytest.raises(OSError, match="disk full"):
        export.export_model(
            export_run.run_folder(),
            ["tflite"],
            verify=only_sky(tmp_path),
            output_dir=output_dir,
        )
    assert list(output_dir.iterdir()) == []


def test_calibration_is_counted_by_class(capsys):
    rows = {"tflite_int8": FORMATS["tflite_int8"]}
    folder = export_run.run_folder() / "samples" / "calibration"
    assert len(api._calibration(rows, folder, 10, multi_label=False)) == 10
    assert "10 images, 2 to 3 from each of 4 classes" in capsys.readouterr().out
    assert len(api._calibration(rows, folder / "sky", 99, multi_label=False)) == 8
    assert capsys.readouterr().out == "Calibrating on 8 images.\n"


def test_rejects_int8_without_calibration_images(tmp_path):
    with pytest.raises(ValueError, match=r"`calibration` must .* formats=tflite_int8"):
        export.export_model(
            export_run.fitted_network(),
            ["tflite_int8"],
            verify=only_sky(tmp_path),
            output_dir=tmp_path / "export",
        )
    assert not (tmp_path / "export").exists()


def test_requires_images_to_verify_on(tmp_path):
    with pytest.raises(ValueError, match="`verify` must be a folder of real images"):
        export.export_model(
            export_run.fitted_network(), ["tflite"], output_dir=tmp_path / "export"
        )
    assert not (tmp_path / "export").exists()


def test_requires_output_dir(tmp_path):
    with pytest.raises(ValueError, match="`output_dir` must be given unless"):
        export.export_model(
            export_run.fitted_network(), ["tflite"], verify=only_sky(tmp_path)
        )


@pytest.mark.parametrize(
    ("formats", "version"), [(["tflite"], 1), (["saved_model"], 0)]
)
def test_rejects_a_version_without_a_saved_model(formats, version):
    with pytest.raises(ValueError, match=f"saved_model_version={version}, formats="):
        export.export_model("unused", formats, saved_model_version=version)


def test_rejects_a_title_without_a_web_page():
    with pytest.raises(ValueError, match=r"`title` applies .* formats=tflite$"):
        export.export_model("unused", ["tflite"], title="Birds")


def test_rejects_an_artefact_as_the_model():
    export_run.exported()
    artefact = export_run.run_folder() / "export" / "model_int8.tflite"
    with pytest.raises(
        ValueError, match=r"artefacts cannot be exported again. Received: .*int8"
    ):
        export.export_model(artefact, ["tflite"])


def test_error_names_an_unreadable_verification_image(tmp_path):
    folder = only_sky(tmp_path)
    (folder / "sky" / "broken.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"readable JPEG.*broken\.png"):
        export.export_model(
            export_run.run_folder(), ["tflite"], verify=folder, output_dir=tmp_path
        )


def test_rejects_other_backends(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"KERAS_BACKEND=tensorflow. Received: jax"):
        export.export_model(export_run.run_folder(), ["tflite"])


def test_package_has_only_its_public_names():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = export.nothing


def test_csv_files_can_take_the_place_of_image_folders(tmp_path, capsys):
    write_images(tmp_path, "b.png", "a.png", "c.png")
    file = tmp_path / "list.csv"
    file.write_text("image,label\nb.png,sky\na.png,grass\nc.png,sky\n")
    name = f"{file}?path=image"
    found = api._verification(name, multi_label=False)
    assert found.class_names == ("grass", "sky")
    assert found.paths == tuple(str(tmp_path / f"{n}.png") for n in "bac")
    assert found.labels.tolist() == [1, 0, 1]
    rows = {"tflite_int8": FORMATS["tflite_int8"]}
    assert len(api._calibration(rows, name, 2, multi_label=False)) == 2
    assert "2 images, 1 from each of 2 classes" in capsys.readouterr().out
