"""Cluster description in the environment variable TF_CONFIG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .tasks import JOBS, Cluster, name_tasks

_ADDRESS = re.compile(r"(\[[\w:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")
_EXAMPLES = {
    "cluster": '{"worker": ["host0:2222", "host1:2222"]}',
    "task": '{"type": "worker", "index": 0}',
}
_LONGEST = 200  # characters of a value in a message


def read_tf_config(environment: Mapping[str, str]) -> Cluster | None:
    """Reads TF_CONFIG, which Ray Train sets too.

    Args:
        environment: Environment variables.

    Returns:
        The cluster; None when TF_CONFIG is not set or lists no tasks.

    Raises:
        ValueError: TF_CONFIG is malformed.
    """
    config = _read(environment.get("TF_CONFIG", ""))
    addresses = _read_addresses(config)
    if not addresses:
        return None
    _check_distinct(addresses)
    task = config.get("task", {})
    _check_object("task", task)
    name = f"{task.get('type')} {task.get('index')}"
    if name not in addresses or type(task["index"]) is not int:
        first = dict(zip(("type", "index"), _split(next(iter(addresses))), strict=True))
        raise ValueError(
            f"TF_CONFIG's `task` must be one of its cluster's, such as {first}. "
            f"Received: task={task}"
        )
    # Ray's raylet sets this variable for its workers.
    is_ray = "RAY_RAYLET_PID" in environment
    return Cluster(addresses, name, "Ray" if is_ray else "TF_CONFIG")


def _read_addresses(config: Mapping[str, Any]) -> dict[str, str]:
    jobs = config.get("cluster", {})
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


def _read(text: str) -> dict[str, Any]:
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
