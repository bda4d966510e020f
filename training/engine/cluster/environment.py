"""Integers and ports in the environment of a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PORT = "EFFICIENTNET_PORT"  # variable with the port of a machine's first worker
DEFAULT_PORT = 8888
LAST_PORT = (1 << 16) - 1


def read_count(environment: Mapping[str, str], name: str, launcher: str) -> int:
    """Reads a number that a launcher must have set.

    Args:
        environment: Environment variables.
        name: Name of the variable.
        launcher: Name of the launcher, for the error.

    Raises:
        ValueError: The variable is missing, or is not a number of at least 0.
    """
    text = environment.get(name)
    if text is None or not text.isdecimal():
        received = "nothing" if text is None else f"{name}={text!r}"
        raise ValueError(
            f"{launcher}'s environment must have a number in {name}. "
            f"Received: {received}"
        )
    return int(text)


def number_ports(
    environment: Mapping[str, str], hosts: Sequence[str], local_ranks: Sequence[int]
) -> list[str]:
    """Returns the address of each worker: its host, and a port of its own there.

    Args:
        environment: Environment variables; EFFICIENTNET_PORT replaces 8888 as the port
            of the first worker of a machine. The others take the next ports.
        hosts: Host of each worker.
        local_ranks: Index of each worker among those of its host.

    Raises:
        ValueError: EFFICIENTNET_PORT leaves no port for every worker.
    """
    text = environment.get(PORT, str(DEFAULT_PORT))
    last = LAST_PORT - max(local_ranks, default=0)
    if not (text.isdecimal() and 0 < int(text) <= last):
        raise ValueError(
            f"{PORT} must be a port from 1 to {last}, so that each worker of a machine "
            f"has its own. Received: {PORT}={text!r}"
        )
    return [
        f"{host}:{int(text) + rank}"
        for host, rank in zip(hosts, local_ranks, strict=True)
    ]


def check_index(launcher: str, name: str, index: int, count: int) -> None:
    """Checks that the index of this worker is below the number of workers.

    Args:
        launcher: Name of the launcher, for the error.
        name: Variable of the index.
        index: Index of this worker.
        count: Number of workers.

    Raises:
        ValueError: It is not.
    """
    if index >= count:
        raise ValueError(
            f"{launcher}'s {name} must be below the number of workers, {count}. "
            f"Received: {name}={index}"
        )
