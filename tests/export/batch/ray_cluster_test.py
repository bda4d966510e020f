"""The Ray engine on a cluster of two nodes, both on this machine."""

import os
import threading
import time

import pytest

from tests.export.batch import jobs
from tests.export.batch.jobs import rows

pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [
    pytest.mark.slow,
    # Warnings of Ray and of what it imports.
    pytest.mark.filterwarnings("ignore"),
]
# Ray notices a lost node after seconds instead of a minute.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
# Two processors per node: with one, Ray Data's actors leave none for its other tasks.
NODE = {"num_cpus": 2, "object_store_memory": 100 << 20}


@pytest.fixture
def cluster():
    """A head and a second node, with two logical processors each."""
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    found = cluster_utils.Cluster(
        initialize_head=True,
        head_node_args={
            **NODE,
            "include_dashboard": False,
            "_system_config": HEALTH_CHECKS,
        },
    )
    second = found.add_node(**NODE)
    ray.init(
        address=found.address,
        runtime_env={"env_vars": {"TF_NUM_INTRAOP_THREADS": "1"}},
        log_to_driver=False,
    )
    found.wait_for_nodes()
    yield found, second
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """200 images, one of which is broken."""
    return jobs.write_photos(tmp_path_factory.mktemp("cluster") / "photos", 50)


@pytest.fixture(scope="module")
def local(photos, tmp_path_factory):
    """Rows of the local engine."""
    folder = tmp_path_factory.mktemp("local")
    assert jobs.run(photos, folder, "--runtime=litert", "--workers=1") == 0
    return rows(folder)


def _predict(photos, output):
    return jobs.run(
        *(photos, output, "--runtime=litert", "--part_size=2"),
        *("--engine=ray", "--workers=4"),
    )


def _nodes_of_actors():
    # The public function for this needs the dashboard.
    from ray._private.state import actors

    alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    return {actor["Address"]["NodeID"] for actor in alive}


def test_rows_of_two_nodes_equal_those_of_the_local_engine(
    cluster, photos, local, tmp_path
):
    nodes = set()

    def watch():
        while not list(tmp_path.glob("part-*")):
            time.sleep(0.05)
        nodes.update(_nodes_of_actors())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert _predict(photos, tmp_path) == 0
    thread.join(timeout=20)
    assert len(nodes) == 2
    assert rows(tmp_path) == local


def test_rows_are_complete_after_the_loss_of_a_node(cluster, photos, local, tmp_path):
    found, second = cluster
    left = []

    def kill():
        while len(list(tmp_path.glob("part-*"))) < 10:
            time.sleep(0.01)
        found.remove_node(second, allow_graceful=False)
        left.append(100 - len(list(tmp_path.glob("part-*"))))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert _predict(photos, tmp_path) == 0
    thread.join(timeout=20)
    assert left[0] > 10  # the node was lost midway
    assert rows(tmp_path) == local
