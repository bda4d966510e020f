import dataclasses
import json
from pathlib import Path

import numpy as np
from PIL import Image

from export import loading, report
from export.artefacts.result import Result
from export.contact_sheet import Line
from export.latency import Latency
from export.verify import Comparison, Reference
from keras_efficientnet.common.image_folders import list_images
from tests.support import export_run


def failed_result(path, classes=4):
    comparison = Comparison(3, classes, 0.4, 2 / 3, 0.9, (1,), (0, 2, 0), 1 / 3, 2 / 3)
    remarks, problems = ("All is small.",), ("it is bad",)
    latency = Latency(0.75, 0.8)
    return Result(
        "tflite_int8", path, 1.25, 0.5, latency, comparison, remarks, problems
    )


def write(tmp_path):
    run = export_run.run_folder()
    folder = run / "samples" / "verification" / "sky"
    paths = tuple(map(Path, list_images(folder)))[:3]
    reference = Reference(paths, np.eye(4)[:3], np.array([0, 1, 1]))
    results = [failed_result(tmp_path / "model_int8.tflite.failed")]
    report.write_report(loading.load(run), reference, results, tmp_path)
    return paths, results


def test_table_is_aligned(tmp_path):
    table = report.format_table(export_run.exported())
    lines = table.splitlines()
    assert len(lines) == 1 + len(export_run.exported())
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[0] == "artefact"


def test_top_5_overlap_is_a_column_from_20_classes_on(tmp_path):
    few, many = (
        report.format_table([failed_result(tmp_path / "model.tflite", classes)])
        for classes in (19, 20)
    )
    assert "top-5" not in few
    assert "agreement  top-5 overlap" in many.splitlines()[0]
    assert "66.7% (20.8% to 93.9%)          90.0%" in many.splitlines()[1]


def test_json_keeps_the_top_5_overlap_of_few_classes(tmp_path):
    write(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["artefacts"][0]["top5_agreement"] == 0.9


def test_json_lists_images_that_disagree(tmp_path):
    paths, _ = write(tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["verification_images"] == 3
    assert data["preprocessing"]["image_size"] == 32
    (artefact,) = data["artefacts"]
    assert artefact["megabytes"] == 0.5
    assert artefact["problems"] == ["it is bad"]
    assert artefact["disagreements"] == [
        {"image": str(paths[1]), "keras": "flower", "artefact": "noise"}
    ]


def test_markdown_has_the_table_the_problems_and_the_picture(tmp_path):
    paths, _ = write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert (
        # Wilson's interval of 2 in 3, by hand.
        "| model_int8.tflite.failed | 1.2 | 0.50 | 4.0e-01 | 66.7% | 33.3% "
        "| 66.7% (20.8% to 93.9%) | 0.75 | 0.80 | FAILED |" in text
    )
    assert "- model_int8.tflite.failed: it is bad." in text
    assert f"| model_int8.tflite.failed | {paths[1]} | flower | noise |" in text
    assert "- model_int8.tflite.failed: All is small." in text
    assert "(verification.png)" in text
    assert "(artefacts.png)" in text


def test_bars_grow_with_the_artefacts(tmp_path):
    one = failed_result(tmp_path / "model.tflite")
    sizes = []
    for count in (1, 6):
        report.draw_bars([one] * count, tmp_path / "bars.png")
        with Image.open(tmp_path / "bars.png") as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]


def test_picture_shows_disagreeing_images_only(tmp_path):
    write(tmp_path)
    with Image.open(tmp_path / "verification.png") as picture:
        assert picture.width == 8 + 184  # one column


def test_picture_without_disagreements_shows_every_class():
    labels = np.repeat(np.arange(4), 12)
    reference = Reference((Path("x"),) * 48, np.eye(4)[labels], labels)
    chosen = report._choose_images(reference, [])
    assert np.bincount(labels[chosen]).tolist() == [5, 5, 5, 5]
    assert chosen == sorted(chosen)  # class by class
    unlabelled = dataclasses.replace(reference, labels=None)
    assert report._choose_images(unlabelled, []) == chosen


def test_captions_mark_wrong_answers():
    result = failed_result(Path("model.tflite"))  # answers 0, 2 and 0
    reference = Reference((Path("x"),) * 3, np.eye(4)[:3], np.array([0, 1, 1]))
    captions = [report._caption("abcd", reference, [result], i) for i in range(3)]
    assert captions == [
        [Line("Keras: a")],
        [Line("Keras: b"), Line("tflite_int8: c", True), Line("true: b")],
        [Line("Keras: c", True), Line("true: b")],
    ]
    unlabelled = dataclasses.replace(reference, labels=None)
    assert report._caption("abcd", unlabelled, [result], 1) == [
        Line("Keras: b"),
        Line("tflite_int8: c"),
    ]


def test_run_report_links_artefacts_once(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.md").write_text("# A run\n\nIts figures.\n")
    results = export_run.exported()
    for _ in range(2):
        report.link_from_run(run, results, run / "export")
    text = (run / "report.md").read_text()
    assert text.startswith("# A run\n\nIts figures.\n\n## Artefacts\n")
    assert text.count("## Artefacts") == 1
    assert "| [model_int8.tflite](export/model_int8.tflite) |" in text
    assert "(export/report.md)" in text


def test_folder_without_a_report_is_left_alone(tmp_path):
    report.link_from_run(tmp_path, export_run.exported(), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []
