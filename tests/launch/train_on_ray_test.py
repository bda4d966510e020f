import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

# Records its TF_CONFIG. The first attempt ends with 75, the second with 69 on one
# worker.
WORKER = """
import json, os, pathlib, sys
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
folder = pathlib.Path(sys.argv[1])
attempt = len(list(folder.glob(f"{index}-*")))
(folder / f"{index}-{attempt}").write_text(json.dumps(config))
sys.exit([75, 69 if index else 0, int(sys.argv[2])][attempt])
"""
CLUSTER = """
import os, subprocess, sys
from ray import cluster_utils
cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 2})
cluster.add_node(num_cpus=2)
environment = os.environ | {"RAY_ADDRESS": cluster.address}
code = subprocess.call([sys.executable, *sys.argv[1:]], env=environment)
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "restarts", "attempts"), [(2, 1, 3), (0, 0, 2)])
def test_workers_on_two_nodes_restart_by_their_exit_code(
    tmp_path, code, restarts, attempts
):
    pytest.importorskip("ray", reason="Ray takes 200 MB; pip install 'ray[data]'")
    options = ["--nodes=2", "--cpus=2", f"--restarts={restarts}", "--"]
    worker = [sys.executable, "-c", WORKER, str(tmp_path), str(code)]
    script = str(ROOT / "launch" / "train_on_ray.py")
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER, script, *options, *worker],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert done.returncode == (code if restarts else 69), done.stderr[-2000:]
    assert len(list(tmp_path.iterdir())) == 2 * attempts
    for attempt in range(attempts):
        configs = [
            json.loads((tmp_path / f"{i}-{attempt}").read_text()) for i in range(2)
        ]
        addresses = configs[0]["cluster"]["worker"]
        assert len(set(addresses)) == 2
        assert configs[1]["cluster"]["worker"] == addresses
        assert [c["task"]["index"] for c in configs] == [0, 1]
