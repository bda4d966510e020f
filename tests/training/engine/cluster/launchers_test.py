import json

import pytest

from tests.training.engine.cluster import recorded
from training.engine.cluster import launchers

WORKERS = [f"host{i}:2222" for i in range(5)]
MPI = recorded.MPI_PROCESS | recorded.MPI_HOSTS


def tf_config(index, count):
    task = {"type": "worker", "index": index}
    config = {"cluster": {"worker": WORKERS[:count]}, "task": task}
    return {"TF_CONFIG": json.dumps(config)}


@pytest.mark.parametrize(
    ("environment", "launcher", "count"),
    [
        (tf_config(1, 2), "TF_CONFIG", 2),
        # As Ray Train sets it in a worker of Ray 2.56.
        (tf_config(1, 2) | {"RAY_JOB_ID": "01", "RAY_RAYLET_PID": "24082"}, "Ray", 2),
        (recorded.SLURM_STEP, "SLURM", 5),
        (recorded.SLURM_SHELL, "SLURM", 1),
        (MPI, "Open MPI", 4),
        (recorded.JOBSET_POD, "Kubernetes", 4),
        # mpirun's daemons are a step of their own, whose variables are inherited.
        (MPI | recorded.SLURM_STEP, "Open MPI", 4),
        (tf_config(3, 5) | recorded.SLURM_STEP, "TF_CONFIG", 5),
        (tf_config(1, 2) | recorded.SLURM_SHELL, "TF_CONFIG", 2),
    ],
)
def test_cluster_comes_from_the_first_launcher_that_applies(
    environment, launcher, count
):
    found = launchers.find_cluster(environment)
    assert (found.launcher, found.count) == (launcher, count)
    assert launchers.require_cluster(environment) == found


@pytest.mark.parametrize(
    "environment",
    [{}, {"TF_CONFIG": "{}"}, recorded.SLURM_BATCH_SCRIPT, {"RAY_RAYLET_PID": "24082"}],
)
def test_process_without_a_launcher_has_no_cluster(environment):
    assert launchers.find_cluster(environment) is None
    with pytest.raises(ValueError, match="needs a cluster: set TF_CONFIG, or start"):
        launchers.require_cluster(environment)


@pytest.mark.parametrize(
    ("config", "received"),
    [
        (tf_config(3, 4), "worker 3 of 4 from TF_CONFIG and worker 3 of 5 from SLURM"),
        (tf_config(0, 5), "worker 0 of 5 from TF_CONFIG and worker 3 of 5 from SLURM"),
        (tf_config(0, 1), "worker 0 of 1 from TF_CONFIG and worker 3 of 5 from SLURM"),
    ],
)
def test_rejects_a_tf_config_that_contradicts_slurm(config, received):
    with pytest.raises(ValueError, match=f"the same workers; .* Received: {received}"):
        launchers.find_cluster(config | recorded.SLURM_STEP)
