"""The command: rows, resuming, shards, bad input."""

import json
import random
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from export import batch_predict, loading, predict
from export.batch import job, options, parts
from keras_efficientnet.common.files import lock
from tests.export.batch import jobs
from tests.export.batch.jobs import rows, run
from tests.support import export_run

pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 images of four classes, and one that is broken."""
    return jobs.write_photos(tmp_path_factory.mktemp("batch") / "photos")


def test_rows_are_the_answers_of_predict(photos, tmp_path, capsys):
    assert run(photos, tmp_path, "--part_size=15", "--top=3", "--probabilities") == 0
    out, err = capsys.readouterr()
    found = rows(tmp_path)
    assert "3 parts, 0 of them finished earlier; 40 images now, 1 of them" in out
    assert "runtime: keras (converting takes longer than 40 images)" in err
    assert "images/s" in err
    assert [row["path"] for row in found] == [
        str(p) for p in sorted(photos.rglob("*.png"))
    ]
    (bad,) = [row for row in found if row["error"] is not None]
    assert bad["path"].endswith("noise/05.png")
    assert bad["error"] == "it is not an image, or damaged"
    assert bad["classes"] is bad["scores"] is bad["probabilities"] is None
    loaded = loading.load(export_run.run_folder())
    good = [row for row in found if row["error"] is None]
    wanted = predict.predict(loaded, [row["path"] for row in good], top=3)
    for row, answer in zip(good, wanted, strict=True):
        assert tuple(row["classes"]) == answer.indices
        np.testing.assert_allclose(row["scores"], answer.probabilities, atol=1e-6)
        top = np.asarray(row["probabilities"], np.float32)[row["classes"]]
        np.testing.assert_allclose(top, row["scores"], atol=1e-3)
    assert (tmp_path / "labels.txt").read_text().split() == list(export_run.LABELS)
    assert not (tmp_path / "_work").exists()


def test_json_lines_hold_the_same_rows(photos, tmp_path):
    assert run(photos, tmp_path / "a") == 0
    assert run(photos, tmp_path / "b", "--format=jsonl") == 0
    (path,) = (tmp_path / "b").glob("part-*.jsonl")
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows(tmp_path / "a")


# predict_test.py compares the answers of LiteRT in one process, and the test of int8,
# below, has one worker.
@pytest.mark.slow
def test_litert_gives_the_answers_of_keras_in_worker_processes(
    photos, finished, tmp_path, capsys
):
    arguments = ("--runtime=litert", "--workers=2", "--part_size=15")
    assert run(photos, tmp_path / "litert", *arguments) == 0
    assert "runtime: litert, 2 processes" in capsys.readouterr().err
    pairs = zip(rows(finished), rows(tmp_path / "litert"), strict=True)
    for keras_row, litert_row in pairs:
        assert litert_row["classes"] == keras_row["classes"]
        assert litert_row["error"] == keras_row["error"]
        if keras_row["scores"]:
            np.testing.assert_allclose(
                litert_row["scores"], keras_row["scores"], atol=1e-4
            )


def test_model_that_litert_computes_otherwise_stays_in_keras(
    photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("export.batch.runtime.MIN_IMAGES", 1)
    monkeypatch.setattr("export.batch.runtime.MAX_DIFFERENCE", -1.0)
    assert run(photos, tmp_path) == 0
    assert "runtime: keras (LiteRT's probabilities differ by" in capsys.readouterr().err


def test_int8_takes_the_file_of_the_export(photos, tmp_path, capsys):
    export_run.exported()
    assert run(photos, tmp_path, "--precision=int8", "--workers=1") == 0
    assert "runtime: litert, 1 processes" in capsys.readouterr().err
    scores = np.concatenate([row["scores"] for row in rows(tmp_path) if row["scores"]])
    np.testing.assert_array_equal(scores * 256, np.rint(scores * 256))


def test_int8_without_an_export_names_the_command(photos, tmp_path, capsys):
    model = "EfficientNetB0"
    assert run(photos, tmp_path, "--precision=int8", model=model) == 2
    assert "--formats=tflite_int8" in capsys.readouterr().err


def test_embeddings_are_the_input_of_the_classifier(photos, tmp_path):
    assert run(photos, tmp_path, "--embeddings") == 0
    row = rows(tmp_path)[0]
    loaded = loading.load(export_run.run_folder())
    kernel, bias = loaded.runner.model.layers[-1].get_weights()
    scores = np.asarray(row["embeddings"]) @ kernel + bias
    assert scores.argmax() == row["classes"][0]
    shares = np.exp(scores - scores.max())
    np.testing.assert_allclose(
        (shares / shares.sum())[row["classes"]], row["scores"], atol=1e-5
    )


def test_finished_parts_are_skipped(photos, tmp_path, capsys):
    assert run(photos, tmp_path, "--part_size=15") == 0
    whole = rows(tmp_path)
    (tmp_path / "part-00001.parquet").unlink()
    kept = tmp_path / "part-00000.parquet"
    before = kept.stat().st_mtime_ns
    capsys.readouterr()
    assert run(photos, tmp_path) == 0
    out, err = capsys.readouterr()
    assert "3 parts, 2 of them finished earlier; 15 images now" in out
    assert "2 parts are finished" in err
    assert kept.stat().st_mtime_ns == before
    assert rows(tmp_path) == whole
    assert run(photos, tmp_path) == 0
    assert "3 of them finished earlier; 0 images now" in capsys.readouterr().out


def test_interrupted_job_keeps_its_parts(photos, tmp_path, monkeypatch, capsys):
    write, written = job.write_part, []

    def stop_at_the_second(*arguments):
        if written:
            signal.raise_signal(signal.SIGTERM)
        written.append(arguments)
        write(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(job, "write_part", stop_at_the_second)
    assert run(photos, tmp_path, "--part_size=15") == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert "the same command resumes" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 15


def test_full_disk_ends_with_74(photos, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(parts.WRITERS, "parquet", fail)
    assert run(photos, tmp_path) == 74
    assert "No space left" in capsys.readouterr().err
    assert not list(tmp_path.glob("part-*"))


def test_shards_together_write_every_row_once(photos, tmp_path, monkeypatch, capsys):
    assert run(photos, tmp_path / "one", "--part_size=9") == 0
    both = tmp_path / "both"
    assert run(photos, both, "--part_size=9", "--shards=2", "--shard=1") == 0
    assert len(rows(both)) == 18
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "0")
    capsys.readouterr()
    assert run(photos, both, "--shards=2") == 0
    assert (
        "3 parts, 0 of them finished earlier; 22 images now" in capsys.readouterr().out
    )
    assert rows(both) == rows(tmp_path / "one")
    assert not (both / "_work").exists()


def test_shard_without_parts_succeeds(photos, tmp_path, capsys):
    assert run(photos, tmp_path, "--shards=4", "--shard=3") == 0
    assert "0 parts" in capsys.readouterr().out


def test_rejects_two_tasks_of_the_same_shard(photos, tmp_path, capsys):
    with lock(tmp_path / "_work" / "shard-0-of-1" / ".lock", "shard"):
        assert run(photos, tmp_path) == 2
    assert "`shard` must not be in use" in capsys.readouterr().err
    assert not list(tmp_path.glob("part-*"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--top=2"], "top=5, not 2"),
        (["--probabilities"], "probabilities=False, not True"),
        (["--part_size=7"], "part_size=100, not 7"),
        (["--runtime=litert"], "runtime='keras', not 'litert'"),
        (["--crop_ratio=0.5"], "model_digest="),
        (["--format=jsonl"], "format='parquet', not 'jsonl'"),
    ],
)
def test_rejects_other_options_over_finished_parts(
    arguments, reason, photos, finished, capsys
):
    before = {path: path.read_bytes() for path in finished.glob("*.*")}
    assert run(photos, finished, *arguments) == 2
    err = capsys.readouterr().err
    assert "the same model, images and options" in err
    assert reason in err
    assert {path: path.read_bytes() for path in finished.glob("*.*")} == before


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory):
    """Output folder of a finished job."""
    folder = tmp_path_factory.mktemp("finished")
    assert run(photos, folder) == 0
    return folder


def test_rejects_another_model_over_finished_parts(photos, finished, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(export_run.run_folder(), other, ignore=lambda *_: ["export"])
    export_run.fitted_network(seed=7).save(other / "model.keras")
    assert run(photos, finished, model=other) == 2
    assert "model_digest=" in capsys.readouterr().err


def test_rejects_other_images_over_finished_parts(photos, finished, capsys):
    assert run(photos / "sky", finished) == 2
    assert "images=40, not 10" in capsys.readouterr().err


def test_rejects_parts_of_unknown_origin(photos, tmp_path, capsys):
    (tmp_path / "part-00000.parquet").write_bytes(b"theirs")
    assert run(photos, tmp_path) == 2
    assert "without their manifest.json" in capsys.readouterr().err
    assert (tmp_path / "part-00000.parquet").read_bytes() == b"theirs"


def test_rejects_an_empty_list(tmp_path, capsys):
    (tmp_path / "list.txt").write_text("\n")
    assert run(tmp_path / "list.txt", tmp_path / "out") == 2
    assert "`input` must name at least one image" in capsys.readouterr().err


def test_exit_code_is_1_when_no_image_can_be_read(tmp_path, capsys):
    (tmp_path / "list.txt").write_text("nowhere.jpg\n")
    assert run(tmp_path / "list.txt", tmp_path / "out") == 1
    assert "none of 1 images could be read" in capsys.readouterr().err
    assert rows(tmp_path / "out")[0]["error"] == "No such file or directory"


def test_rejects_an_output_that_is_a_file(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    assert run(photos, tmp_path / "file") == 2
    assert "must be a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept"


def test_rejects_a_folder_that_cannot_be_made(photos, capsys):
    assert run(photos, "/proc/predictions") == 2
    err = capsys.readouterr().err
    assert "Received: output=/proc/predictions (No such file or directory)" in err


def test_rejects_a_folder_that_cannot_be_written(photos, tmp_path, monkeypatch, capsys):
    # The superuser may write to all folders, and some run the tests as such.
    monkeypatch.setattr(batch_predict.os, "access", lambda *_: False)
    assert run(photos, tmp_path) == 2
    assert "(no permission, or a read-only file system)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [("pyarrow.parquet", [], "batch"), ("ray.data", ["--engine=ray"], "ray")],
)
def test_missing_packages_are_named_before_any_work(
    module, arguments, extra, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, module, None)
    assert run(photos, tmp_path / "out", *arguments) == 2
    assert f"pip install 'efficientnet-keras[{extra}]'" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("shards", "shard", "environment", "reason"),
    [
        (2, None, {}, "neither JOB_COMPLETION_INDEX nor SLURM_ARRAY_TASK_ID"),
        (2, 2, {}, "`shard` must be 0 to 1. Received: shard=2"),
        (2, None, {"SLURM_ARRAY_TASK_ID": "5"}, "SLURM_ARRAY_TASK_ID=5, shards=2"),
        (0, None, {}, "`shards` must be at least 1"),
    ],
)
def test_rejects_a_shard_out_of_range(shards, shard, environment, reason):
    with pytest.raises(ValueError, match=reason):
        options.find_shard(shards, shard, environment)


def test_index_of_kubernetes_and_slurm():
    assert options.find_shard(3, None, {"JOB_COMPLETION_INDEX": "2"}) == 2
    assert options.find_shard(3, None, {"SLURM_ARRAY_TASK_ID": "1"}) == 1
    assert options.find_shard(3, 0, {"SLURM_ARRAY_TASK_ID": "1"}) == 0
    assert options.find_shard(1, None, {"SLURM_ARRAY_TASK_ID": "7"}) == 0


def test_unexpected_arguments_are_rejected(photos, tmp_path, capsys):
    assert run(photos, tmp_path, "more.jpg") == 2
    assert "Received: more.jpg" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "kills"), [("keras", 20), ("litert", 3)])
def test_rows_survive_kill_9(runtime, kills, tmp_path):
    """Kills a job again and again: while it starts, predicts, and writes parts."""
    photos = jobs.write_photos(tmp_path / "photos", 10 * kills)
    flags = (f"--runtime={runtime}", "--part_size=2", "--workers=1")
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "killed"
    assert run(photos, undisturbed, *flags) == 0
    chosen = random.Random(0)
    for kill in range(kills):
        process = jobs.start(photos, output, *flags)
        parts = len(list(output.glob("part-*"))) + chosen.randrange(1, 15)
        while len(list(output.glob("part-*"))) < parts and process.poll() is None:
            time.sleep(0.005)
            if kill % 4 == 3 and chosen.random() < 0.005:
                break  # perhaps before the first part
        time.sleep(chosen.uniform(0, 0.05))
        assert process.poll() is None  # the job is not finished
        process.kill()
        process.wait()
    assert len(rows(output)) < len(rows(undisturbed))
    assert run(photos, output, *flags) == 0
    assert rows(output) == rows(undisturbed)
    assert {path.name for path in output.iterdir()} == {
        path.name for path in undisturbed.iterdir()
    }


@pytest.mark.slow
def test_workers_end_with_a_killed_command(photos, tmp_path):
    psutil = pytest.importorskip("psutil")
    flags = ("--runtime=litert", "--part_size=2", "--workers=2")
    process = jobs.start(photos, tmp_path, *flags)
    while not list(tmp_path.glob("part-*")) and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
