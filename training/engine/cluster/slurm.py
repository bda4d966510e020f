"""Workers of a SLURM job step, from the variables that srun sets.

Source:
    https://slurm.schedmd.com/srun.html, "OUTPUT ENVIRONMENT VARIABLES".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from .environment import check_index, number_ports, read_count
from .tasks import Cluster, name_tasks

_PARTS = re.compile(r"(?:[^,\[\]]|\[[^\[\]]*\])+")  # of a node list, between commas
_PIECES = re.compile(r"\[([^\]]+)\]|([^\[\]]+)")  # of a part: ranges or plain text
_LONGEST = 100  # characters of a value in a message


def read_slurm(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the tasks of a SLURM job step.

    Args:
        environment: Environment variables.

    Returns:
        The cluster; None outside a step that srun has started, as in a batch script or
        in the shell of salloc.

    Raises:
        ValueError: The variables are incomplete or contradict each other.
    """
    if "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    count = read_count(environment, "SLURM_STEP_NUM_TASKS", "SLURM")
    index = read_count(environment, "SLURM_PROCID", "SLURM")
    check_index("SLURM", "SLURM_PROCID", index, count)
    nodes = expand_nodes(_read_list(environment, "NODELIST", "SLURM_JOB_NODELIST"))
    per_node = expand_counts(_read_tasks_per_node(environment, len(nodes)))
    if len(per_node) != len(nodes) or sum(per_node) != count:
        raise ValueError(
            "SLURM must list as many tasks as it starts. Received: "
            f"SLURM_STEP_NUM_TASKS={count}, but {len(nodes)} nodes with "
            f"{sum(per_node)} tasks on {len(per_node)} of them"
        )
    places = _place_tasks(per_node, environment.get("SLURM_DISTRIBUTION", "block"))
    _check_place(environment, index, places[index])
    addresses = number_ports(
        environment, [nodes[node] for node, _ in places], [rank for _, rank in places]
    )
    return Cluster(name_tasks({"worker": addresses}), f"worker {index}", "SLURM")


def expand_nodes(text: str) -> list[str]:
    """Returns the nodes of a SLURM node list, in its order.

    Raises:
        ValueError: The list is malformed.

    Example:
        >>> expand_nodes("gpu[08-10,12],login")
        ['gpu08', 'gpu09', 'gpu10', 'gpu12', 'login']
    """
    parts = _PARTS.findall(text)
    if ",".join(parts) != text or not parts:
        raise ValueError(_malformed("node list", "node[1-2]", text))
    nodes: list[str] = []
    for part in parts:
        pieces = [
            _expand_ranges(ranges, text) if ranges else [plain]
            for ranges, plain in _PIECES.findall(part)
        ]
        nodes += ["".join(choice) for choice in itertools.product(*pieces)]
    return nodes


def expand_counts(text: str) -> list[int]:
    """Returns the tasks of each node from SLURM's short form.

    Raises:
        ValueError: The text is malformed.

    Example:
        >>> expand_counts("2(x3),1")
        [2, 2, 2, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(_malformed("list of tasks per node", "2(x3),1", text))
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _expand_ranges(ranges: str, text: str) -> list[str]:
    """Expands "08-10,12"; leading zeros stay."""
    found: list[str] = []
    for item in ranges.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(_malformed("node list", "node[1-2]", text))
        numbers = range(int(match[1]), int(match[2] or match[1]) + 1)
        found += [str(number).zfill(len(match[1])) for number in numbers]
    return found


def _read_list(environment: Mapping[str, str], name: str, fallback: str) -> str:
    text = environment.get(f"SLURM_STEP_{name}") or environment.get(fallback)
    if not text:
        raise ValueError(
            f"SLURM's environment must have SLURM_STEP_{name} or {fallback}. "
            "Received: neither"
        )
    return text


def _read_tasks_per_node(environment: Mapping[str, str], nodes: int) -> str:
    text = _read_list(environment, "TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE")
    # The fallback is the option of sbatch, one number for every node.
    is_option = "SLURM_STEP_TASKS_PER_NODE" not in environment
    return f"{text}(x{nodes})" if is_option else text


def _place_tasks(per_node: Sequence[int], distribution: str) -> list[tuple[int, int]]:
    """Returns the node and the local index of each task, in order of rank.

    Args:
        per_node: Number of tasks of each node.
        distribution: srun's `--distribution`. "cyclic" deals the tasks out, one to
            each node in turn; otherwise consecutive tasks share a node.
    """
    places = [(node, i) for node, tasks in enumerate(per_node) for i in range(tasks)]
    if distribution.startswith("cyclic"):
        places.sort(key=lambda place: (place[1], place[0]))
    return places


def _check_place(
    environment: Mapping[str, str], index: int, expected: tuple[int, int]
) -> None:
    found = tuple(
        read_count(environment, name, "SLURM")
        for name in ("SLURM_NODEID", "SLURM_LOCALID")
    )
    if found != expected:
        raise ValueError(
            "SLURM must place tasks in blocks or cyclically; pass "
            f"--distribution=block to srun. Received: SLURM_PROCID={index}, "
            f"SLURM_NODEID={found[0]}, SLURM_LOCALID={found[1]}"
        )


def _malformed(what: str, example: str, text: str) -> str:
    return (
        f"SLURM's {what} must have the form of {example!r}. "
        f"Received: {text[:_LONGEST]!r}"
    )
