"""Division of a machine's GPUs among its workers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from .tasks import Cluster

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def choose_gpus(cluster: Cluster, environment: Mapping[str, str]) -> str | None:
    """Chooses the GPUs of this worker if several workers share its machine.

    Args:
        cluster: Tasks of the run.
        environment: Environment variables.

    Returns:
        Value for CUDA_VISIBLE_DEVICES; None to leave it as it is, because the launcher
        has divided the GPUs already, or there are too few.
    """
    if cluster.launcher not in ("SLURM", "Open MPI") or _is_bound(environment):
        return None
    local = cluster.local_tasks
    gpus = _visible_gpus(environment) if len(local) > 1 else []
    share = len(gpus) // len(local)
    begin = local.index(cluster.task) * share
    return ",".join(gpus[begin : begin + share]) if share else None


def _is_bound(environment: Mapping[str, str]) -> bool:
    """Returns whether SLURM has given each task GPUs of its own."""
    return (
        "SLURM_GPUS_PER_TASK" in environment
        or "gres/gpu" in environment.get("SLURM_TRES_PER_TASK", "")
        or environment.get("SLURM_GPU_BIND", "none") != "none"
    )


def _visible_gpus(environment: Mapping[str, str]) -> list[str]:
    # Not counted with TensorFlow, which would claim all of them.
    visible = environment.get(_VISIBLE)
    if visible is not None:
        return [name for name in visible.split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--list-gpus"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = listed.stdout.splitlines()
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in lines))]
