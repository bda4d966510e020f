import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from training.data import batch_predictions
from training.data.batch_predictions import (
    check_file_names,
    find_positions,
    open_predictions,
)

# path, classes, scores: two classes of each image; the third could not be read.
ROWS = [
    ("/data/a.jpg", [1, 0], [0.75, 0.125]),
    ("/data/\u00e9.jpg", [2, 1], [0.5, 0.5]),
    ("/data/bad.jpg", None, None),
    ("/data/b.jpg", [0, 2], [0.625, 0.25]),
    ("/data/c.jpg", [0, 1], [0.875, 0.0625]),
]


def write_predictions(root, rows, kind, *, part_size=3, top=2, labels="abc"):
    """Writes the files that docs/batch.md describes."""
    root.mkdir()
    manifest = {
        "images": len(rows),
        "part_size": part_size,
        "options": {"format": kind, "top": top},
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    (root / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    for number, start in enumerate(range(0, len(rows), part_size)):
        names, classes, scores = zip(*rows[start : start + part_size], strict=True)
        columns = {"path": names, "classes": classes, "scores": scores}
        columns["error"] = [None if found else "damaged" for found in classes]
        path = root / f"part-{number:05d}.{kind}"
        if kind == "parquet":
            types = {
                "classes": pyarrow.list_(pyarrow.int32()),
                "scores": pyarrow.list_(pyarrow.float32()),
            }
            arrays = {
                name: pyarrow.array(values, types.get(name, pyarrow.string()))
                for name, values in columns.items()
            }
            parquet.write_table(pyarrow.table(arrays), path)
        else:
            records = zip(*columns.values(), strict=True)
            lines = [json.dumps(dict(zip(columns, r, strict=True))) for r in records]
            path.write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("at_once", [2, 100])
def test_reads_rows_in_order(tmp_path, monkeypatch, kind, at_once):
    monkeypatch.setattr(batch_predictions, "_ROWS", at_once)
    found = open_predictions(str(write_predictions(tmp_path / "p", ROWS, kind)))
    assert (found.images, found.class_names) == (5, ("a", "b", "c"))
    batches = list(found.rows(names=True))
    assert [name for batch in batches for name in batch.names] == [r[0] for r in ROWS]
    classes = np.concatenate([batch.classes for batch in batches])
    scores = np.concatenate([batch.scores for batch in batches])
    assert classes.tolist() == [row[1] or [0, 0] for row in ROWS]
    assert scores.tolist() == [row[2] or [0, 0] for row in ROWS]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_takes_rows_from_several_parts(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(batch_predictions, "_ROWS", 2)
    found = open_predictions(str(write_predictions(tmp_path / "p", ROWS, kind)))
    names, top = found.take(np.array([1, 3]))
    assert list(names) == ["/data/\u00e9.jpg", "/data/b.jpg"]
    # What the scores leave of 1 belongs to the third class.
    expected = [[0, 0.5, 0.5], [0.625, 0.125, 0.25]]
    assert top.dense(np.array([0, 1])).tolist() == expected


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_classes_with_probability_zero_may_be_missing(tmp_path, kind):
    rows = [
        ("/data/sure.jpg", [1], [1.0]),
        ("/data/bad.jpg", None, None),
        ("/data/both.jpg", [3, 0], [0.75, 0.25]),
        ("/data/all.jpg", [2, 1, 0], [0.5, 0.375, 0.125]),
    ]
    folder = write_predictions(
        tmp_path / "p", rows, kind, part_size=4, top=3, labels="abcd"
    )
    (found,) = open_predictions(str(folder)).rows(names=False)
    classes = [[1, 0, 2], [0, 0, 0], [3, 0, 1], [2, 1, 0]]
    assert found.classes.tolist() == classes
    scores = [[1, 0, 0], [0, 0, 0], [0.75, 0.25, 0], [0.5, 0.375, 0.125]]
    assert found.scores.tolist() == scores
    _, top = open_predictions(str(folder)).take(np.array([0, 2]))
    expected = [[0, 1, 0, 0], [0.25, 0, 0, 0.75]]
    assert top.dense(np.array([0, 1])).tolist() == expected


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("/a", [3, 0], [0.5, 0.25]), "classes of `predictions` must be 0 to 2. .* 3"),
        (("/a", [-1, 0], [0.5, 0.25]), "must be 0 to 2"),
        (("/a", [1, 0], [0.75, 0.5]), "mutually exclusive classes. .* 1.250"),
        (("/a", [1, 0], [0.75, float("nan")]), "mutually exclusive classes"),
        (("/a", [1], [0.75, 0.25]), "at most 2 classes, each with a score"),
        (("/a", [1, 0, 2], [0.5, 0.3, 0.1]), "has written them. .*part-0000"),
    ],
)
def test_rejects_invalid_rows(tmp_path, kind, row, message):
    root = write_predictions(tmp_path / "p", [*ROWS, row], kind)
    with pytest.raises(ValueError, match=message):
        list(open_predictions(str(root)).rows(names=False))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_error_names_a_damaged_part(tmp_path, kind):
    root = write_predictions(tmp_path / "p", ROWS, kind)
    path = root / f"part-00001.{kind}"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="written them. .*part-00001"):
        list(open_predictions(str(root)).rows(names=False))


def test_rejects_unfinished_predictions(tmp_path):
    root = write_predictions(tmp_path / "p", ROWS, "jsonl")
    (root / "part-00000.jsonl").unlink()
    with pytest.raises(ValueError, match="must be finished; .* without part-00000"):
        open_predictions(str(root))


def test_rejects_parts_with_missing_rows(tmp_path):
    root = write_predictions(tmp_path / "p", ROWS, "jsonl")
    lines = (root / "part-00001.jsonl").read_text().splitlines()
    (root / "part-00001.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(ValueError, match="must have 5 rows, .* with 4"):
        list(open_predictions(str(root)).rows(names=False))


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_rejects_other_folders(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="written by export.batch_predict"):
        open_predictions(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["/data/train-00000#17", "/data/a.tar/b.jpg", "s3://bucket/a.jpg"]
)
def test_images_in_containers_need_a_source(name):
    check_file_names(["/data/a.jpg", "/data/b#.jpg"])
    with pytest.raises(ValueError, match=f"such as tfrecord:GLOB. Received: {name}"):
        check_file_names(["/data/a.jpg", name])


def test_finds_images_by_path_or_by_file_and_record():
    files = ["/x/1.jpg", "/x/2.jpg"]
    assert find_positions(["/x/2.jpg"], files, "folder:/x").tolist() == [1]
    records = [f"train-00000#{i}" for i in range(9)]
    names = ["/x/train-00000#7", "/x/train-00000#1"]
    assert find_positions(names, records, "tfrecord:/x").tolist() == [7, 1]
    with pytest.raises(ValueError, match="without 1 of 2 images, such as /y/1.jpg"):
        find_positions(["/x/2.jpg", "/y/1.jpg"], files, "folder:/x")
