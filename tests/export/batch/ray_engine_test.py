"""The Ray engine, on a real local cluster."""

import os
import shutil
import signal
import threading
import time

import pytest

from tests.export.batch import jobs
from tests.export.batch.jobs import rows

pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray")

pytestmark = [
    pytest.mark.slow,
    # Warnings of Ray and of what it imports.
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
    return jobs.write_photos(tmp_path_factory.mktemp("ray") / "photos")


def _run(photos, output, *arguments):
    return jobs.run(photos, output, "--part_size=9", *arguments)


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
    assert rows(tmp_path) == rows(local)


def test_keras_models_answer_alike_up_to_rounding(cluster, photos, local, tmp_path):
    assert _run(photos, tmp_path, "--engine=ray", "--workers=1") == 0
    for found, wanted in zip(rows(tmp_path), rows(local), strict=True):
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
    assert rows(tmp_path / "out") == rows(local)


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
    assert rows(tmp_path) == rows(local)
