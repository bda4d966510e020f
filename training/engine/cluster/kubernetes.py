"""Workers of a Kubernetes Indexed Job or JobSet, from the environment of a pod.

Kubernetes sets JOB_COMPLETION_INDEX and names the pods of a job `JOB-0`, `JOB-1` and so
on, but does not pass on their number. The manifest sets the rest:

- EFFICIENTNET_WORKERS: the job's `completions`;
- EFFICIENTNET_SUBDOMAIN: name of the headless service; JobSet names its own after the
  JobSet.

Source:
    https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication.
"""

from __future__ import annotations

from collections.abc import Mapping

from .environment import check_index, number_ports, read_count
from .tasks import Cluster, name_tasks

INDEX = "JOB_COMPLETION_INDEX"
WORKERS = "EFFICIENTNET_WORKERS"
SUBDOMAIN = "EFFICIENTNET_SUBDOMAIN"


def read_kubernetes(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the pods of an Indexed Job, alone or in a JobSet.

    Args:
        environment: Environment variables.

    Returns:
        The cluster; None outside a pod of such a job, or without
        EFFICIENTNET_WORKERS, as in an Indexed Job whose pods work independently.

    Raises:
        ValueError: The variables are incomplete or contradict each other.
    """
    if WORKERS not in environment:
        return None
    count = read_count(environment, WORKERS, "Kubernetes")
    index = read_count(environment, INDEX, "Kubernetes")
    check_index("Kubernetes", INDEX, index, count)
    name = environment.get("HOSTNAME", "")
    job, separator, number = name.partition(".")[0].rpartition("-")
    if not separator or number != str(index):
        raise ValueError(
            f"A pod's HOSTNAME must end in its index, -{index}, as in an Indexed Job. "
            f"Received: HOSTNAME={name!r}, {INDEX}={index}"
        )
    subdomain = environment.get(SUBDOMAIN, "")
    if not subdomain and count > 1:
        raise ValueError(
            f"{SUBDOMAIN} must be the name of the headless service that gives the pods "
            "of the job their host names. Received: nothing"
        )
    suffix = f".{subdomain}" if subdomain else ""
    hosts = [f"{job}-{i}{suffix}" for i in range(count)]
    addresses = number_ports(environment, hosts, [0] * count)
    return Cluster(name_tasks({"worker": addresses}), f"worker {index}", "Kubernetes")
