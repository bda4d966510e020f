"""Cluster description in the environment variable TF_CONFIG."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

JOBS = ("chief", "worker")  # the jobs that train, in order of rank
_ADDRESS = re.compile(r"(\[[\w:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")
_EXAMPLES = {
    "cluster": '{"worker": ["host0:2222", "host1:2222"]}',
    "task": '{"type": "worker", "index": 0}',
}
_LONGEST = 200  # characters of a value in a message


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Tasks of a run, and the task of this process.

    Attributes:
        addresses: Address of each task, "HOST:PORT", by its name, such as "worker 0";
            the chief comes first.
        task: Name of this process's task.
    """

    addresses: Mapping[str, str]
    task: str

    @property
    def digest(self) -> str:
        """Digest of all addresses."""
        text = json.dumps(list(self.addresses.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_addresses() -> dict[str, str]:
    """Reads the tasks that TF_CONFIG lists.

    Returns:
        Address of each task, "HOST:PORT", by its name, the chief first. Empty when
        TF_CONFIG is not set or lists no tasks.

    Raises:
        ValueError: TF_CONFIG is malformed.
    """
    jobs = _read().get("cluster", {})
    _check_object("cluster", jobs)
    others = [job for job in jobs if job not in JOBS]
    if others:
        raise ValueError(
            "TF_CONFIG's `cluster` must list workers, and at most one chief. "
            f"Received: {', '.join(jobs)}"
        )
    for job, hosts in jobs.items():
        _check_hosts(job, hosts)
    return name_tasks(jobs)


def read_cluster() -> Cluster | None:
    """Reads TF_CONFIG.

    Returns:
        The cluster; None when TF_CONFIG is not set or lists no tasks.

    Raises:
        ValueError: TF_CONFIG is malformed.
    """
    addresses = read_addresses()
    if not addresses:
        return None
    _check_distinct(addresses)
    task = _read().get("task", {})
    _check_object("task", task)
    name = f"{task.get('type')} {task.get('index')}"
    if name not in addresses or type(task["index"]) is not int:
        first = dict(zip(("type", "index"), _split(next(iter(addresses))), strict=True))
        raise ValueError(
            f"TF_CONFIG's `task` must be one of its cluster's, such as {first}. "
            f"Received: task={task}"
        )
    return Cluster(addresses, name)


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


def split_address(address: str) -> tuple[str, int]:
    """Returns the host and the port of "HOST:PORT".

    Example:
        >>> split_address("[::1]:2222")
        ('::1', 2222)
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _read() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(
            f"TF_CONFIG must be a JSON object, but {error}. "
            f"Received: TF_CONFIG={text[:_LONGEST]!r}"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(
            f"TF_CONFIG must be a JSON object. Received: TF_CONFIG={text[:_LONGEST]!r}"
        )
    return config


def _check_object(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(
            f"TF_CONFIG's `{name}` must be an object, as in {_EXAMPLES[name]}. "
            f"Received: {name}={str(value)[:_LONGEST]}"
        )


def _check_hosts(job: str, hosts: Any) -> None:
    if not isinstance(hosts, list):
        raise ValueError(
            "TF_CONFIG's `cluster` must have a list of addresses for each job, as in "
            f"{_EXAMPLES['cluster']}. Received: {job}={str(hosts)[:_LONGEST]!r}"
        )
    if job == "chief" and len(hosts) > 1:
        raise ValueError(
            "TF_CONFIG's `cluster` must have one chief at most. "
            f"Received: {job}={hosts}"
        )
    for i, address in enumerate(hosts):
        match = isinstance(address, str) and _ADDRESS.fullmatch(address)
        if not match or not 0 < int(match[2]) < 1 << 16:
            raise ValueError(
                "TF_CONFIG's `cluster` must have addresses of the form 'HOST:PORT', "
                f"with a port from 1 to 65535. Received: {job} {i}={address!r}"
            )


def _check_distinct(addresses: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name, address in addresses.items():
        if address in seen:
            raise ValueError(
                "TF_CONFIG's `cluster` must have a different address for each task. "
                f"Received: {seen[address]}={address!r}, {name}={address!r}"
            )
        seen[address] = name


def _split(name: str) -> tuple[str, int]:
    job, index = name.split()
    return job, int(index)
