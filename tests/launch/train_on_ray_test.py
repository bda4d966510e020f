import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Records its TF_CONFIG. The first attempt ends with 75, the second with 69 on one
# worker.
RESTARTED = """
import json, os, pathlib, sys
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
folder = pathlib.Path(sys.argv[1])
attempt = len(list(folder.glob(f"{index}-*")))
(folder / f"{index}-{attempt}").write_text(json.dumps(config))
sys.exit([75, 69 if index else 0, int(sys.argv[2])][attempt])
"""
# Saves when it receives SIGTERM.
STOPPED = """
import json, os, pathlib, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
folder = pathlib.Path(sys.argv[1])
def save(*_):
    (folder / f"saved-{index}").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
(folder / f"started-{index}").touch()
time.sleep(100)
"""
# Starts two nodes and the script; stops it when a folder holds two files.
CLUSTER = """
import os, subprocess, sys, time
from ray import cluster_utils
stop_at, *command = sys.argv[1:]
cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 2})
cluster.add_node(num_cpus=2)
environment = os.environ | {"RAY_ADDRESS": cluster.address}
process = subprocess.Popen([sys.executable, *command], env=environment)
if stop_at:
    while len(os.listdir(stop_at)) < 2:
        time.sleep(0.1)
    process.terminate()
code = process.wait()
cluster.shutdown()
sys.exit(code)
"""

pytestmark = pytest.mark.slow


def run_script(*command, restarts=0, stop_at=""):
    """Runs the script on a cluster of two nodes; returns the exit code."""
    pytest.importorskip("ray", reason="Ray takes 200 MB; pip install 'ray[data]'")
    script = ROOT / "launch" / "train_on_ray.py"
    options = ["--nodes=2", "--cpus=2", f"--restarts={restarts}", "--"]
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, stop_at, script, *options, *command],
        timeout=300,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    return done.returncode


@pytest.mark.parametrize(("code", "restarts", "attempts"), [(2, 1, 3), (0, 0, 2)])
def test_workers_on_two_nodes_restart_by_their_exit_code(
    tmp_path, code, restarts, attempts
):
    worker = [sys.executable, "-c", RESTARTED, tmp_path, str(code)]
    assert run_script(*worker, restarts=restarts) == (code if restarts else 69)
    assert len(list(tmp_path.iterdir())) == 2 * attempts
    for attempt in range(attempts):
        configs = [
            json.loads((tmp_path / f"{i}-{attempt}").read_text()) for i in range(2)
        ]
        addresses = configs[0]["cluster"]["worker"]
        assert len(set(addresses)) == 2
        assert configs[1]["cluster"]["worker"] == addresses
        assert [c["task"]["index"] for c in configs] == [0, 1]


def test_workers_save_before_the_script_is_stopped(tmp_path):
    worker = [sys.executable, "-c", STOPPED, tmp_path]
    assert run_script(*worker, stop_at=tmp_path) == 75
    assert {path.name for path in tmp_path.iterdir()} == {
        *("started-0", "started-1"),
        *("saved-0", "saved-1"),
    }
