"""Name to tf.distribute strategy, and what its workers have to agree on."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

SLURM_PORT = 8888  # of the first worker of a machine; the others count up
_JOBS = ("chief", "worker")  # those that train, in their order
_LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
)


class WorkerLostError(ConnectionError):
    """Another worker of the run has died or cannot be reached."""


def make(name: str) -> tf.distribute.Strategy:
    """Makes a strategy by name.

    Args:
        name: Key of `STRATEGIES`: "one_device" takes the first GPU, or the
            processor; "mirrored" every GPU of this machine, or every logical
            processor device; "multi_worker" one process per machine or GPU, as
            TF_CONFIG or SLURM tells; "tpu" the TPU of this machine, or the one that
            TPU_NAME names. "auto" is the first that applies of: multi_worker when
            TF_CONFIG lists more than one worker, tpu when there is one, mirrored
            when there are several GPUs, one_device.

    Raises:
        ValueError: This machine, or its environment, does not have what it takes.
        RuntimeError: TensorFlow has run something already, which "multi_worker" has
            to come before. Whoever opens a source first calls this before that.
    """
    return STRATEGIES[name]()


class Workers:
    """The processes that share a run.

    Args:
        used_strategy: What the run is under.

    Attributes:
        count: How many there are.
        index: Place of this one, from 0.
    """

    def __init__(self, used_strategy: tf.distribute.Strategy) -> None:
        self.count, self.index = _place(used_strategy)
        replicas = used_strategy.num_replicas_in_sync // self.count
        workers, index = self.count, self.index

        def replica_sum(numbers: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # One replica speaks for its worker.
            speaks = context.replica_id_in_sync_group == index * replicas
            row = tf.one_hot(index, workers, dtype=tf.int32)[:, tf.newaxis]
            return context.all_reduce("SUM", row * numbers * tf.cast(speaks, tf.int32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def gather(numbers: tf.Tensor) -> tf.Tensor:
            rows = used_strategy.run(replica_sum, (numbers,))
            return used_strategy.experimental_local_results(rows)[0]

        self._gather = gather

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def gather(self, *numbers: int) -> np.ndarray:
        """Waits for all workers, and returns the numbers of each.

        Args:
            *numbers: Under 2**31 each, as many on every worker.

        Returns:
            (workers, numbers), int.
        """
        if self.count == 1:
            return np.array([numbers])
        return self._gather(tf.constant(numbers, tf.int32)).numpy()

    def wait(self) -> None:
        """Waits until all workers have come here."""
        self.gather(0)


def explain_loss(error: tf.errors.OpError) -> str | None:
    """Tells which worker was lost, if that is what an error of TensorFlow is about.

    Args:
        error: Of a step under "multi_worker".

    Returns:
        One line; None when the error is about something else.
    """
    about = ("ollective", "task:", "heartbeat", "oordination")
    if not (isinstance(error, _LOSSES) and any(word in str(error) for word in about)):
        return None
    tasks = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
    names = sorted({f"{job} {number}" for job, number in tasks})
    return f"Lost contact with {' and '.join(names) or 'a worker'}"


def _place(used_strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns the number of workers and the place of this one."""
    resolver = used_strategy.cluster_resolver
    kind = tf.distribute.MultiWorkerMirroredStrategy
    if not isinstance(used_strategy, kind) or resolver is None:
        return 1, 0
    cluster = resolver.cluster_spec()
    tasks = [
        (job, task)
        for job in _JOBS
        if job in cluster.jobs
        for task in cluster.task_indices(job)
    ]
    place = (resolver.task_type, resolver.task_id)
    # Without any cluster TensorFlow takes this process as the only worker.
    return (len(tasks), tasks.index(place)) if tasks else (1, 0)


def _auto() -> tf.distribute.Strategy:
    cluster = _tf_config().get("cluster", {})
    if sum(len(cluster.get(job, ())) for job in _JOBS) > 1:
        return _multi_worker()
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return _tpu()
    return _mirrored() if len(_devices("GPU")) > 1 else _one_device()


def _one_device() -> tf.distribute.Strategy:
    # The default strategy puts everything on the first device, without the wrapping
    # of variables and data that OneDeviceStrategy adds to every step.
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(_devices("GPU") or _devices("CPU"))


@functools.cache  # a process can have one only
def _multi_worker() -> tf.distribute.Strategy:
    config = _tf_config()
    resolver: Any
    if config:
        _check_tf_config(config)
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    elif "SLURM_STEP_NUM_TASKS" in os.environ:
        resolver = _slurm()
    else:
        raise ValueError(
            "`strategy` 'multi_worker' needs TF_CONFIG, or to be started by SLURM's "
            "srun. Neither TF_CONFIG nor SLURM_STEP_NUM_TASKS is in the environment"
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise RuntimeError(
            "`strategy` 'multi_worker' must come before everything else that "
            f"TensorFlow does in a process: {error}"
        ) from error


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG must be JSON, but {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        raise ValueError(f"TF_CONFIG must be a JSON object. Received: {text}")
    return config


def _check_tf_config(config: dict[str, Any]) -> None:
    cluster, task = config.get("cluster", {}), config.get("task", {})
    others = [job for job in cluster if job not in _JOBS]
    if others or not cluster.get("worker"):
        raise ValueError(
            "TF_CONFIG's cluster must list workers, and at most a chief besides. "
            f"Received: {', '.join(cluster) or 'no jobs'}"
        )
    tasks = [[job, i] for job, hosts in cluster.items() for i in range(len(hosts))]
    place = [task.get("type"), task.get("index")]
    if place not in tasks:
        raise ValueError(
            "TF_CONFIG's task must be one of its cluster's, such as "
            f"{{'type': '{tasks[0][0]}', 'index': 0}}. Received: task={task}"
        )


def _slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    tasks, options = _tasks_per_node(), {}
    if _visible_gpus() < tasks:
        # SLURM has given each task its own, or there are none. TensorFlow's resolver
        # would fail at dividing them once more.
        options = {"gpus_per_node": tasks, "gpus_per_task": 1, "auto_set_gpu": False}
    try:
        return tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=SLURM_PORT, **options
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"SLURM's environment does not describe a step of tasks: {error}"
        ) from error


def _visible_gpus() -> int:
    # Not by TensorFlow: it would take hold of all of them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name])
    if not shutil.which("nvidia-smi"):
        return 0
    command = ["nvidia-smi", "--list-gpus"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _tasks_per_node() -> int:
    """Returns the most tasks that a machine has, as in "2(x3),1"."""
    listed = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    numbers = re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", listed)
    return max(map(int, numbers), default=1)


@functools.cache  # a second initialisation would lose what is on the TPU
def _tpu() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        first_line = (str(error).splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"`strategy` 'tpu' needs a TPU; TensorFlow finds none at {name!r}: "
            f"{first_line}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _devices(kind: str) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices(kind)]


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
