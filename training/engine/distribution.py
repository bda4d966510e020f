"""Distribution strategies by name."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# The public API has no other way to set the heartbeat timeout.
from tensorflow.python.eager import context as eager_context

from .cluster import rendezvous, tf_config
from .cluster.rendezvous import WorkerLostError
from .preemption import signals_held

SLURM_PORT = 8888  # of a machine's first worker; the others take the next ones
# All workers have just met, so TensorFlow's own wait, which cannot be interrupted, may
# be short.
_REGISTER_TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Timeouts:
    """Timeouts of a multi-worker run.

    Attributes:
        start_s: Longest wait for the other workers at the start, in seconds.
        heartbeat_s: Silence after which a worker counts as lost, in seconds.
    """

    start_s: float = 300.0
    heartbeat_s: float = 100.0


def make_strategy(
    name: str, timeouts: Timeouts | None = None
) -> tf.distribute.Strategy:
    """Creates a distribution strategy by name.

    Args:
        name: Key of `STRATEGIES`: "one_device" uses the first GPU, or the CPU;
            "mirrored" every GPU of this machine, or every logical CPU device;
            "multi_worker" one process per machine or GPU, as TF_CONFIG or SLURM
            describes; "tpu" the TPU of this machine, or the one that TPU_NAME names.
            "auto" is multi_worker if TF_CONFIG lists several workers, else tpu if
            there is one, else mirrored if there are several GPUs, else one_device.
        timeouts: Timeouts of "multi_worker". None: the defaults.

    Raises:
        ValueError: This machine or its environment does not fit the strategy.
        WorkerLostError: Another worker cannot be reached.
        RuntimeError: TensorFlow has already been used, which "multi_worker" does not
            allow. Call `make_strategy` before opening a source.
    """
    return STRATEGIES[name](timeouts or Timeouts())


def _auto(timeouts: Timeouts) -> tf.distribute.Strategy:
    if len(tf_config.read_addresses()) > 1:
        return _multi_worker(timeouts)
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return _tpu(timeouts)
    make_local = _mirrored if len(_devices("GPU")) > 1 else _one_device
    return make_local(timeouts)


def _one_device(timeouts: Timeouts) -> tf.distribute.Strategy:
    del timeouts
    # The default strategy puts everything on the first device, without the wrapping
    # of variables and data that OneDeviceStrategy adds to every step.
    return tf.distribute.get_strategy()


def _mirrored(timeouts: Timeouts) -> tf.distribute.Strategy:
    del timeouts
    return tf.distribute.MirroredStrategy(_devices("GPU") or _devices("CPU"))


_multi_worker_strategy: list[tf.distribute.Strategy] = []  # at most one


def _multi_worker(timeouts: Timeouts) -> tf.distribute.Strategy:
    if not _multi_worker_strategy:  # a process can have one only
        _multi_worker_strategy.append(_start_multi_worker(timeouts))
    return _multi_worker_strategy[0]


def _start_multi_worker(timeouts: Timeouts) -> tf.distribute.Strategy:
    check_cluster()
    cluster = tf_config.read_cluster()
    resolver: Any
    if cluster:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    else:
        resolver = _slurm()
        addresses = tf_config.name_tasks(resolver.cluster_spec().as_dict())
        task = f"{resolver.task_type} {resolver.task_id}"
        cluster = tf_config.Cluster(addresses, task)
    if eager_context.context()._context_handle is not None:
        raise RuntimeError(
            "`strategy` 'multi_worker' must be created before TensorFlow is used in "
            "the process"
        )
    rendezvous.meet(cluster, timeouts.start_s)
    _configure_heartbeats(cluster, timeouts)
    try:
        # TensorFlow takes over SIGTERM here and would swallow it.
        with signals_held():
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except tf.errors.OpError as error:
        raise WorkerLostError(
            "TensorFlow could not connect the workers, although they had reached each "
            f"other: {_first_line(error)}"
        ) from error


def check_cluster() -> None:
    """Checks that the environment describes the workers of a run.

    Raises:
        ValueError: Neither TF_CONFIG nor SLURM does.
    """
    if not tf_config.read_cluster() and "SLURM_STEP_NUM_TASKS" not in os.environ:
        raise ValueError(
            "`strategy` 'multi_worker' needs a cluster: set TF_CONFIG, or start with "
            "SLURM's srun. Neither TF_CONFIG nor SLURM_STEP_NUM_TASKS is in the "
            "environment"
        )


def _configure_heartbeats(cluster: tf_config.Cluster, timeouts: Timeouts) -> None:
    """Sets the heartbeat timeout, which is 10 seconds by default."""
    jobs = tf.compat.v1.ConfigProto().experimental.coordination_config
    for job in tf_config.JOBS:
        tasks = sum(name.startswith(f"{job} ") for name in cluster.addresses)
        if tasks:
            jobs.coordinated_job_list.add(name=job, num_tasks=tasks)
    leader, index = next(iter(cluster.addresses)).split()
    eager_context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{leader}/replica:0/task:{index}",
        coordinated_jobs=list(jobs.coordinated_job_list),
        heartbeat_timeout_in_ms=int(timeouts.heartbeat_s * 1000),
        cluster_register_timeout_in_ms=_REGISTER_TIMEOUT_S * 1000,
    )


def _slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    tasks, options = _tasks_per_node(), {}
    if _visible_gpus() < tasks:
        # SLURM has already given each task its own GPU, or there are none. TensorFlow's
        # resolver would fail to divide them again.
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
    # Not counted with TensorFlow, which would claim all of them.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name])
    if not shutil.which("nvidia-smi"):
        return 0
    command = ["nvidia-smi", "--list-gpus"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _tasks_per_node() -> int:
    """Returns the largest number of tasks on a machine, 2 for "2(x3),1"."""
    listed = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    numbers = re.findall(r"(\d+)(?:\(x\d+\))?(?:,|$)", listed)
    return max(map(int, numbers), default=1)


@functools.cache  # a second initialisation would clear the TPU's memory
def _tpu(timeouts: Timeouts) -> tf.distribute.Strategy:
    del timeouts
    name = os.environ.get("TPU_NAME", "local")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f"`strategy` 'tpu' needs a TPU; TensorFlow finds none at {name!r}: "
            f"{_first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def _devices(kind: str) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices(kind)]


STRATEGIES: dict[str, Callable[[Timeouts], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one_device": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
