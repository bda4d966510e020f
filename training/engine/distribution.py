"""Distribution strategies by name."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable

import tensorflow as tf

# The public API has no other way to set the heartbeat timeout.
from tensorflow.python.eager import context as eager_context

from .cluster import gpus, rendezvous
from .cluster.launchers import find_cluster, require_cluster
from .cluster.rendezvous import WorkerLostError
from .cluster.tasks import JOBS, Cluster, group_by_job
from .preemption import signals_held

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
            "multi_worker" one process per machine or GPU, as TF_CONFIG, SLURM, Open
            MPI or Kubernetes describes; "tpu" the TPU of this machine, or the one that
            TPU_NAME names. "auto" is multi_worker if there are several workers, else
            tpu if there is one, else mirrored if there are several GPUs, else
            one_device.
        timeouts: Timeouts of "multi_worker". None: the defaults.

    Raises:
        ValueError: This machine or its environment does not fit the strategy.
        WorkerLostError: Another worker cannot be reached.
        RuntimeError: TensorFlow has already been used, which "multi_worker" does not
            allow. Call `make_strategy` before opening a source.
    """
    return STRATEGIES[name](timeouts or Timeouts())


def _auto(timeouts: Timeouts) -> tf.distribute.Strategy:
    cluster = find_cluster(os.environ)
    if cluster and cluster.count > 1:
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


# Strategy of this process, which can have one only, and its cluster.
_multi_worker_strategy: list[tuple[tf.distribute.Strategy, Cluster]] = []


def _multi_worker(timeouts: Timeouts) -> tf.distribute.Strategy:
    if not _multi_worker_strategy:
        cluster = require_cluster(os.environ)
        _multi_worker_strategy.append((_connect(cluster, timeouts), cluster))
    return _multi_worker_strategy[0][0]


def describe_workers(strategy: tf.distribute.Strategy) -> str:
    """Returns the number of workers and their launcher, such as "2 workers from SLURM".

    Args:
        strategy: Strategy of the run.

    Returns:
        The description; empty unless the strategy is "multi_worker".
    """
    for made, cluster in _multi_worker_strategy:
        if made is strategy:
            workers = "worker" if cluster.count == 1 else "workers"
            return f"{cluster.count} {workers} from {cluster.launcher}"
    return ""


def _connect(cluster: Cluster, timeouts: Timeouts) -> tf.distribute.Strategy:
    if eager_context.context()._context_handle is not None:
        raise RuntimeError(
            "`strategy` 'multi_worker' must be created before TensorFlow is used in "
            "the process"
        )
    rendezvous.meet(cluster, timeouts.start_s)
    chosen = gpus.choose_gpus(cluster, os.environ)
    if chosen is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = chosen
    _configure_heartbeats(cluster, timeouts)
    try:
        # TensorFlow takes over SIGTERM here and would swallow it.
        with signals_held():
            return tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=_resolver(cluster)
            )
    except tf.errors.OpError as error:
        raise WorkerLostError(
            "TensorFlow could not connect the workers, although they had reached each "
            f"other: {_first_line(error)}"
        ) from error


def _resolver(cluster: Cluster) -> tf.distribute.cluster_resolver.ClusterResolver:
    job, index = cluster.task.split()
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(group_by_job(cluster.addresses)),
        task_type=job,
        task_id=int(index),
        rpc_layer="grpc",
    )


def _configure_heartbeats(cluster: Cluster, timeouts: Timeouts) -> None:
    """Sets the heartbeat timeout, which is 10 seconds by default."""
    jobs = tf.compat.v1.ConfigProto().experimental.coordination_config
    for job in JOBS:
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
