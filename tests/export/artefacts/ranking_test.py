import dataclasses
import functools
import json
import shutil

import pytest

import export
from export import loading
from export.artefacts import processor, ranking, record
from export.formats import registry
from export.latency import Latency
from export.verify import VerificationError
from tests.support import export_run

MILLISECONDS = {"tflite": 3.0, "onnx": 1.0, "tflite_int8": 2.0}


@pytest.fixture
def latencies(monkeypatch):
    """Replaces measurements by fixed latencies of three candidates.

    Their files are copies of those that other tests use too.
    """
    found = dict(MILLISECONDS)
    export_run.exported()
    for name in found:
        row = registry.FORMATS[name]
        made = export_run.run_folder() / "export" / row.artefact
        row = dataclasses.replace(row, write=functools.partial(copy, made))
        monkeypatch.setitem(registry.FORMATS, name, row)
    monkeypatch.setattr(ranking, "CANDIDATES", tuple(found))
    monkeypatch.setattr(
        ranking,
        "_measure",
        lambda entries, _: {
            x.format: Latency(found[x.format], found[x.format]) for x in entries
        },
    )
    return found


def copy(made, source, path):
    """Writes an artefact that is made already."""
    shutil.copy(made, path)
    return ()


def images(tmp_path):
    source = export_run.run_folder() / "samples" / "verification" / "sky"
    return shutil.copytree(source, tmp_path / "images" / "sky").parent


def run_export(tmp_path, formats, **options):
    return export.export_model(
        export_run.run_folder(),
        formats,
        verify=images(tmp_path),
        output_dir=tmp_path / "out",
        **options,
    )


def artefacts(tmp_path):
    names = {row.artefact for row in registry.FORMATS.values()}
    return {path.name for path in (tmp_path / "out").iterdir()} & names


def test_candidates_need_their_packages_and_calibration_images(monkeypatch):
    def find_spec(name):
        return None if name == "openvino" else object()

    monkeypatch.setattr(ranking.importlib.util, "find_spec", find_spec)
    rows, skipped = ranking.find_candidates(["fastest"], has_calibration=False)
    assert list(rows) == ["saved_model", "tflite", "onnx"]
    assert skipped == {
        "tflite_int8": "there are no calibration images.",
        "onnx_int8": "there are no calibration images.",
        "openvino": "openvino is not installed.",
        "openvino_int8": "openvino is not installed.",
    }
    assert ranking.find_candidates(["onnx"], has_calibration=True) == ({}, {})


def test_fastest_is_the_first_that_passes(latencies, tmp_path):
    entries = [
        ranking.RankedFormat("tflite", tmp_path / "a", 1.0),
        ranking.RankedFormat("onnx", tmp_path / "b", 0.5, ("it is bad",)),
        ranking.RankedFormat("tflite_int8", tmp_path / "c", 0.99),
    ]
    found = ranking.rank(entries, 32, {})
    assert [x.format for x in found.entries] == ["tflite_int8", "tflite", "onnx"]
    assert found.fastest.format == "tflite_int8"
    assert found.entries[-1].latency is None
    assert found.as_text().endswith(
        ": tflite_int8 2.00 ms, tflite 3.00 ms. tflite_int8 computes in integers and "
        "has the top-1 class of Keras on 99.0% of the images."
    )
    assert ranking.rank(entries[1:2], 32, {}).fastest is None


def test_measurements_take_turns(monkeypatch, tmp_path):
    calls = []
    names = ("tflite", "onnx")
    for name in names:
        row = registry.FORMATS[name]
        monkeypatch.setitem(
            registry.FORMATS,
            name,
            dataclasses.replace(row, runner=lambda path: path.name),
        )
    monkeypatch.setattr(
        ranking.latency,
        "measure_runner",
        lambda runner, _: calls.append(runner) or Latency(len(calls), 9.0),
    )
    found = ranking.rank(
        [ranking.RankedFormat(x, tmp_path / x, 1.0) for x in names], 32, {}
    )
    assert calls == [*names, *names, *names]
    # Golden: medians of 1, 3, 5 and of 2, 4, 6.
    assert [x.latency.median_ms for x in found.entries] == [3.0, 4.0]


def test_only_the_fastest_is_written(latencies, tmp_path, capsys):
    results = run_export(tmp_path, ["fastest"])
    assert [x.format for x in results] == ["onnx"]
    assert artefacts(tmp_path) == {"model.onnx"}
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [x["format"] for x in summary["artefacts"]] == ["onnx"]
    assert summary["fastest"]["artefact"] == "model.onnx"
    found = [(x["format"], x["latency_ms"]) for x in summary["fastest"]["ranking"]]
    assert found == [("onnx", 1.0), ("tflite_int8", 2.0), ("tflite", 3.0)]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Ranking" in text
    assert text.index("| onnx |") < text.index("| tflite_int8 |")
    loaded = loading.load(tmp_path / "out")
    assert loaded.name == str(tmp_path / "out" / "model.onnx")
    assert "The fastest on" in capsys.readouterr().out


def test_formats_requested_by_name_are_written_too(latencies, tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "CANDIDATES", ("tflite", "onnx"))
    results = run_export(tmp_path, ["fastest", "tflite"])
    assert [x.format for x in results] == ["tflite", "onnx"]
    assert artefacts(tmp_path) == {"model_float32.tflite", "model.onnx"}


def test_formats_that_fail_are_not_the_fastest(latencies, tmp_path, monkeypatch):
    def write(source, path):
        raise ValueError("A network must be simple.")

    row = dataclasses.replace(registry.FORMATS["onnx"], write=write)
    monkeypatch.setitem(registry.FORMATS, "onnx", row)
    monkeypatch.setattr(ranking, "CANDIDATES", ("tflite", "onnx"))
    (result,) = run_export(tmp_path, ["fastest"])
    assert result.format == "tflite"
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert summary["fastest"]["skipped"] == {"onnx": "A network must be simple."}
    monkeypatch.setattr(ranking, "CANDIDATES", ("onnx",))
    with pytest.raises(VerificationError, match=r"At least one format .*onnx: A netw"):
        export.export_model(
            export_run.run_folder(), ["fastest"], output_dir=tmp_path / "none"
        )
    assert list((tmp_path / "none").iterdir()) == []


def test_record_is_ignored_without_its_artefact(tmp_path):
    assert record.find_fastest(tmp_path) is None
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"fastest": {"artefact": "model.onnx"}}))
    assert record.find_fastest(tmp_path) is None
    (tmp_path / "model.onnx").touch()
    assert record.find_fastest(tmp_path) == tmp_path / "model.onnx"
    report.write_text(json.dumps({"fastest": {"artefact": "../model.onnx"}}))
    assert record.find_fastest(tmp_path) is None
    report.write_text("[]")
    assert record.find_fastest(tmp_path) is None


def test_processor_lists_extensions_and_limits(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Any\nflags\t\t: avx2 avx512f avx512_vnni sse\n")
    monkeypatch.setattr(processor, "_CPU_INFO", info)
    monkeypatch.setattr(processor, "processor_name", lambda: "Any CPU")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor.describe_processor() == (
        "Any CPU with AVX2, AVX-512, AVX-512 VNNI, ONEDNN_MAX_CPU_ISA=AVX2"
    )
