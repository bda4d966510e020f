"""The Ray engine, on a real local cluster."""

import os
import shutil
import signal
import threading
import time

import pytest
from absl import flags

from export import batch_predict
from tests.support import export_run

parquet = pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray")

pytestmark = [
    pytest.mark.slow,
    # Of Ray and what it imports.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with 2 logical processors."""
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 images of four classes, and one that is broken."""
    folder = tmp_path_factory.mktemp("ray") / "photos"
    export_run.write_pictures(folder, 10, seed=5)
    (folder / "noise" / "05.png").write_bytes(b"broken")
    return folder


def _run(photos, output, *arguments):
    values = flags.FlagValues()
    batch_predict.define_flags(values)
    required = [
        f"--model={export_run.run_folder()}",
        f"--input={photos}",
        f"--output={output}",
    ]
    argv = values(["batch_predict", *required, "--part_size=9", *arguments])
    return batch_predict.main(argv, values)


def _rows(output):
    return [
        row
        for path in sorted(output.glob("part-*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]


@pytest.fixture(scope="module")
def local(photos, tmp_path_factory):
    """Output of the local engine in LiteRT, whose answers do not depend on threads."""
    folder = tmp_path_factory.mktemp("local")
    assert _run(photos, folder, "--runtime=litert", "--workers=1") == 0
    return folder


def test_rows_equal_those_of_the_local_engine(cluster, photos, local, tmp_path, capsys):
    options = ("--runtime=litert", "--engine=ray", "--workers=2")
    assert _run(photos, tmp_path, *options) == 0
    out, err = capsys.readouterr()
    assert "runtime: litert, 2 Ray actors" in err
    assert "5 parts, 0 of them finished earlier; 40 images now, 1 of them" in out
    assert _rows(tmp_path) == _rows(local)


def test_keras_models_answer_alike_up_to_rounding(cluster, photos, local, tmp_path):
    assert _run(photos, tmp_path, "--engine=ray", "--workers=1") == 0
    for found, wanted in zip(_rows(tmp_path), _rows(local), strict=True):
        assert found["path"] == wanted["path"]
        assert found["classes"] == wanted["classes"]
        assert found["scores"] == pytest.approx(wanted["scores"], abs=1e-4)


def test_job_of_one_engine_is_finished_by_the_other(
    cluster, photos, local, tmp_path, capsys
):
    shutil.copytree(local, tmp_path / "out")
    (tmp_path / "out" / "part-00002.parquet").unlink()
    assert _run(photos, tmp_path / "out", "--engine=ray") == 0
    assert "5 parts, 4 of them finished earlier" in capsys.readouterr().out
    assert _rows(tmp_path / "out") == _rows(local)


def test_parts_of_a_killed_actor_are_written_by_another(
    cluster, photos, local, tmp_path
):
    psutil = pytest.importorskip("psutil")
    killed = []

    def kill_one():
        while not list(tmp_path.glob("part-*")):
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if "PartWriter" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)
                return

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    options = ("--runtime=litert", "--engine=ray", "--workers=1", "--part_size=2")
    assert _run(photos, tmp_path, *options) == 0
    thread.join(timeout=10)
    assert killed
    assert _rows(tmp_path) == _rows(local)
