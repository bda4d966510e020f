"""Tasks of a multi-worker run and their addresses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

JOBS = ("chief", "worker")  # the jobs that train, in order of rank


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Tasks of a run, and the task of this process.

    Attributes:
        addresses: Address of each task, "HOST:PORT", by its name, such as "worker 0";
            the chief comes first.
        task: Name of this process's task.
        launcher: Name of the system that described the tasks, such as "SLURM".
    """

    addresses: Mapping[str, str]
    task: str
    launcher: str = "TF_CONFIG"

    @property
    def count(self) -> int:
        """Number of tasks."""
        return len(self.addresses)

    @property
    def index(self) -> int:
        """Index of this process's task among all tasks."""
        return list(self.addresses).index(self.task)

    @property
    def local_tasks(self) -> list[str]:
        """Names of the tasks on this process's machine, its own included."""
        host, _ = split_address(self.addresses[self.task])
        return [
            name
            for name, address in self.addresses.items()
            if split_address(address)[0] == host
        ]

    @property
    def digest(self) -> str:
        """Digest of all addresses."""
        text = json.dumps(list(self.addresses.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def name_tasks(jobs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns the address of each task by its name, the chief first.

    Args:
        jobs: Addresses of each job's tasks.

    Example:
        >>> name_tasks({"worker": ["a:1", "b:1"]})
        {'worker 0': 'a:1', 'worker 1': 'b:1'}
    """
    return {
        f"{job} {i}": address
        for job in JOBS
        for i, address in enumerate(jobs.get(job, ()))
    }


def group_by_job(addresses: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the addresses of each job's tasks; the inverse of `name_tasks`.

    Args:
        addresses: Address of each task by its name.
    """
    jobs: dict[str, list[str]] = {}
    for name, address in addresses.items():
        jobs.setdefault(name.split()[0], []).append(address)
    return jobs


def split_address(address: str) -> tuple[str, int]:
    """Returns the host and the port of "HOST:PORT".

    Example:
        >>> split_address("[::1]:2222")
        ('::1', 2222)
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
