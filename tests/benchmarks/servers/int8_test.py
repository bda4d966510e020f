import numpy as np

from benchmarks.servers import int8
from tests.support import export_run


def exported(name):
    export_run.exported()
    return export_run.run_folder() / "export" / int8.FILES[name]


def test_files_are_compared_with_the_first():
    pictures = [export_run.pictures(x, 3, seed=6) for x in export_run.LABELS]
    images = np.concatenate(pictures)[:, 4:36, 8:40].astype(np.float32)
    correct = [{0}, {0}, {1}, *9 * [set()]]
    files = {name: exported(name) for name in ("onnx", "onnx_int8", "openvino_int8")}
    found = int8.compare(files, images, correct)
    assert list(found) == list(files)
    assert found["onnx"]["agreement"] == 1
    assert min(row["agreement"] for row in found.values()) >= 11 / 12
    # Golden: the first two of three images with a correct class are of class 0.
    assert found["onnx"]["top1"] == 2 / 3


def test_ratios_are_medians_over_rounds(capsys):
    times = {name: [2.0, 2.0, 2.0] for name in int8.FORMATS}
    times["onnx_int8"] = [1.0, 9.0, 1.0]
    times["onnxruntime"] = [2.0, 2.0, 2.0]
    found = {name: {"agreement": 1.0, "top1": 0.5} for name in times}
    int8.print_table(found, times)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "  onnx_int8 / onnxruntime: 0.50 of its latency (bar: 1.0)"
    assert not [line for line in lines if "NNCF" in line]


def test_artefact_that_missed_a_threshold_is_found(tmp_path):
    (tmp_path / "openvino_int8").mkdir()
    (tmp_path / "openvino.failed").mkdir()
    found = int8.find_artefact(tmp_path / "openvino")
    assert found == tmp_path / "openvino.failed"
    same = tmp_path / "openvino_int8"
    assert int8.find_artefact(same) == same
