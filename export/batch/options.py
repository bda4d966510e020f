"""Options of a batch prediction job."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

FORMATS = ("parquet", "jsonl")
ENGINES = ("local", "ray")
RUNTIMES = ("auto", "keras", "litert")
PRECISIONS = ("float32", "int8")
# Index of this task: Kubernetes Indexed Jobs, SLURM job arrays.
_INDEX_VARIABLES = ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID")


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Model of a job, and what to predict with it.

    Attributes:
        model: Path or name of the model, as `loading.load` takes it.
        weights: See `loading.load`, as for the following up to `thresholds`.
        labels: Path of a file of class names, or None.
        image_size: Side of the input, pixels, or None.
        crop_ratio: Side of the central crop as a ratio to the shorter side, or None.
        interpolation: Resize method, or None.
        crop_mode: Shape of the crop, "center" or "squash", or None.
        thresholds: Thresholds of a multi-label model, or None.
        top: Number of classes per image, at least 1.
        probabilities: Whether to write the probabilities of all classes.
        embeddings: Whether to write the input of the classifier.
    """

    model: str
    weights: str | None = None
    labels: str | None = None
    image_size: int | None = None
    crop_ratio: float | None = None
    interpolation: str | None = None
    crop_mode: str | None = None
    thresholds: str | None = None
    top: int = 5
    probabilities: bool = False
    embeddings: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """A batch prediction job.

    Attributes:
        input: Images, as `inputs.list_locations` takes them.
        output: Folder of the parts.
        options: Model, and what to predict.
        precision: One of `PRECISIONS`.
        format: One of `FORMATS`.
        part_size: Number of images per part; None: chosen by the number of images.
        shards: Number of tasks that share the parts.
        shard: Index of this task, from 0.
        workers: Number of worker processes, threads or actors; 0: one per processor.
        engine: One of `ENGINES`.
        runtime: One of `RUNTIMES`.
    """

    input: str
    output: Path
    options: ModelOptions
    precision: str = "float32"
    format: str = "parquet"
    part_size: int | None = None
    shards: int = 1
    shard: int = 0
    workers: int = 0
    engine: str = "local"
    runtime: str = "auto"


def find_shard(
    shards: int, shard: int | None, environment: Mapping[str, str] = os.environ
) -> int:
    """Returns the index of this task among those that share a job.

    Args:
        shards: Number of tasks.
        shard: Index that the user gave; None: that of the scheduler's array.
        environment: Environment variables.

    Raises:
        ValueError: The index is missing or not one of the tasks'.

    Example:
        >>> find_shard(4, None, {"SLURM_ARRAY_TASK_ID": "3"})
        3
    """
    if shards < 1:
        raise ValueError(f"`shards` must be at least 1. Received: shards={shards}")
    origin = "shard"
    if shard is None and shards > 1:
        for origin in _INDEX_VARIABLES:
            if environment.get(origin, "").isdecimal():
                shard = int(environment[origin])
                break
        else:
            raise ValueError(
                "`shard` must be given where neither "
                f"{' nor '.join(_INDEX_VARIABLES)} is set. Received: shards={shards}"
            )
    shard = shard or 0
    if not 0 <= shard < shards:
        raise ValueError(
            f"`shard` must be 0 to {shards - 1}. Received: {origin}={shard}, "
            f"shards={shards}"
        )
    return shard
