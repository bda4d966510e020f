"""Workers of Open MPI's mpirun, from the variables that it sets.

Open MPI does not pass on the hosts. They come from EFFICIENTNET_HOSTS, or from SLURM or
LSF if mpirun runs inside a job of theirs.

Source:
    https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html.
"""

from __future__ import annotations

from collections.abc import Mapping

from .environment import check_index, number_ports, read_count
from .slurm import expand_nodes
from .tasks import Cluster, name_tasks

HOSTS = "EFFICIENTNET_HOSTS"
_PREFIX = "OMPI_COMM_WORLD_"


def read_open_mpi(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the processes that mpirun has started.

    Args:
        environment: Environment variables.

    Returns:
        The cluster; None outside mpirun.

    Raises:
        ValueError: The variables are incomplete or contradict each other.
    """
    if f"{_PREFIX}SIZE" not in environment:
        return None
    count, index, local_count, local_rank = (
        read_count(environment, f"{_PREFIX}{name}", "Open MPI")
        for name in ("SIZE", "RANK", "LOCAL_SIZE", "LOCAL_RANK")
    )
    check_index("Open MPI", f"{_PREFIX}RANK", index, count)
    is_one_machine = local_count == count
    hosts = ["localhost"] if is_one_machine else _read_hosts(environment)
    if len(hosts) * local_count != count:
        raise ValueError(
            "mpirun must start the same number of processes on every host. Received: "
            f"{_PREFIX}SIZE={count}, {_PREFIX}LOCAL_SIZE={local_count}, "
            f"{len(hosts)} hosts"
        )
    if index % local_count != local_rank:
        raise ValueError(
            "mpirun must number the processes of a host in a row; pass --map-by slot. "
            f"Received: {_PREFIX}RANK={index}, {_PREFIX}LOCAL_RANK={local_rank}, "
            f"{_PREFIX}LOCAL_SIZE={local_count}"
        )
    addresses = number_ports(
        environment,
        [host for host in hosts for _ in range(local_count)],
        list(range(local_count)) * len(hosts),
    )
    return Cluster(name_tasks({"worker": addresses}), f"worker {index}", "Open MPI")


def _read_hosts(environment: Mapping[str, str]) -> list[str]:
    if environment.get(HOSTS):
        return environment[HOSTS].split(",")
    if environment.get("LSB_MCPU_HOSTS"):  # "host0 4 host1 4"
        return environment["LSB_MCPU_HOSTS"].split()[::2]
    if environment.get("SLURM_JOB_NODELIST"):
        return expand_nodes(environment["SLURM_JOB_NODELIST"])
    raise ValueError(
        f"{HOSTS} must list mpirun's hosts, as in `mpirun -x {HOSTS}=host0,host1`, "
        "unless SLURM or LSF does. Received: nothing"
    )
