"""Cluster of a run, as the system that launched the process describes it.

TF_CONFIG takes precedence, then Open MPI, SLURM and Kubernetes. Open MPI precedes SLURM
because mpirun starts its daemons as a step of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from .kubernetes import read_kubernetes
from .open_mpi import read_open_mpi
from .slurm import read_slurm
from .tasks import Cluster
from .tf_config import read_tf_config

_LAUNCHERS = (read_open_mpi, read_slurm, read_kubernetes)


def find_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the cluster of this process from its environment.

    Args:
        environment: Environment variables.

    Returns:
        The cluster, which may have a single task; None if no launcher describes one.

    Raises:
        ValueError: A description is malformed, or TF_CONFIG contradicts the launcher.
    """
    configured = read_tf_config(environment)
    found = (read(environment) for read in _LAUNCHERS)
    launched = next((cluster for cluster in found if cluster), None)
    if not (configured and launched):
        return configured or launched
    # A launcher may start each machine's worker separately, as a job of one task.
    if launched.count > 1:
        _check_same(configured, launched)
    return configured


def require_cluster(environment: Mapping[str, str]) -> Cluster:
    """Reads the cluster of this process from its environment.

    Args:
        environment: Environment variables.

    Raises:
        ValueError: No launcher describes a cluster, or see `find_cluster`.
    """
    cluster = find_cluster(environment)
    if not cluster:
        raise ValueError(
            "`strategy` 'multi_worker' needs a cluster: set TF_CONFIG, or start with "
            "srun, mpirun or a manifest of launch/. Received: none of TF_CONFIG, "
            "SLURM_STEP_NUM_TASKS, OMPI_COMM_WORLD_SIZE and EFFICIENTNET_WORKERS"
        )
    return cluster


def _check_same(configured: Cluster, launched: Cluster) -> None:
    """Checks that TF_CONFIG and a launcher agree on this worker."""
    places = [(c.index, c.count) for c in (configured, launched)]
    if places[0] != places[1]:
        raise ValueError(
            f"{configured.launcher} and {launched.launcher} must describe the same "
            "workers; unset TF_CONFIG to use the latter. Received: "
            + " and ".join(
                f"worker {c.index} of {c.count} from {c.launcher}"
                for c in (configured, launched)
            )
        )
