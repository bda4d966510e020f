import pytest

from tests.training.engine.cluster import recorded
from training.engine.cluster import gpus
from training.engine.cluster.launchers import find_cluster
from training.engine.cluster.tasks import Cluster


def choose(environment, visible=None):
    used = environment | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    return gpus.choose_gpus(find_cluster(used), used)


# The second of two workers on its machine.
@pytest.mark.parametrize(
    ("visible", "chosen"),
    [("0,1", "1"), ("0,1,2,3", "2,3"), ("4,5,6", "5"), ("GPU-a,GPU-b", "GPU-b")],
)
@pytest.mark.parametrize(
    "environment", [recorded.SLURM_STEP, recorded.MPI_PROCESS | recorded.MPI_HOSTS]
)
def test_workers_of_a_machine_share_its_gpus(environment, visible, chosen):
    assert choose(environment, visible) == chosen


@pytest.mark.parametrize("visible", ["", "3"])
def test_too_few_gpus_are_not_divided(visible):
    assert choose(recorded.SLURM_STEP, visible) is None


@pytest.mark.parametrize(
    "bound",
    [
        {"SLURM_GPUS_PER_TASK": "2"},
        {"SLURM_TRES_PER_TASK": "cpu=8,gres/gpu=2"},
        {"SLURM_GPU_BIND": "per_task:2"},
    ],
)
def test_gpus_that_slurm_has_divided_stay_as_they_are(bound):
    assert choose(recorded.SLURM_STEP | bound, "0,1") is None


def test_tf_config_leaves_the_choice_of_gpus_to_the_user():
    addresses = {"worker 0": "a:1", "worker 1": "a:2"}
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert gpus.choose_gpus(Cluster(addresses, "worker 1"), environment) is None


def test_counts_gpus_with_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: L4'\necho 'GPU 1: L4'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert choose(recorded.SLURM_STEP) == "1"
    program.unlink()
    assert choose(recorded.SLURM_STEP) is None
