"""Runs a batch prediction job: plans parts, runs an engine, writes and resumes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_efficientnet.common.files import lock, publish
from keras_efficientnet.common.sidecars import LABELS_FILE, write_labels

from ..extras import require_package
from ..loading import Loaded
from . import local_engine
from .classifier import Classifier, batch_size, open_model
from .inputs import list_locations
from .listing import Listing, write_listing
from .manifest import (
    WORK,
    Manifest,
    Part,
    check_manifest,
    default_part_size,
    list_parts,
    read_manifest,
    settle_manifest,
)
from .options import Job, usable_processors
from .progress import Progress
from .ray_engine import predict_on_ray
from .rows import WRITERS, Rows
from .runtime import Runtime, choose_runtime, digest_model, find_int8


@dataclasses.dataclass
class JobResult:
    """Counts of a finished task.

    Attributes:
        images: Number of images of this session.
        errors: Number of those that could not be read.
        parts: Number of the task's parts.
        skipped: Number of parts that earlier sessions had finished.
    """

    images: int = 0
    errors: int = 0
    parts: int = 0
    skipped: int = 0


def run_job(job: Job) -> JobResult:
    """Predicts all images of a task and writes them in parts.

    Args:
        job: Job; finished parts in its output folder are skipped.

    Raises:
        ValueError: An argument is wrong, another process runs the same task, or the
            folder holds parts of another job.
        ImportError: A package is missing that the job needs.
        OSError: A file cannot be written.
    """
    _check(job)
    shard_folder = job.output / WORK / f"shard-{job.shard}-of-{job.shards}"
    with lock(shard_folder / ".lock", "shard"):
        for left in shard_folder.glob("part-*"):
            left.unlink()  # of a session that was killed
        input_digest = write_listing(list_locations(job.input), shard_folder)
        listing = Listing(shard_folder)
        if not len(listing):
            raise ValueError(
                f"`input` must name at least one image. Received: input={job.input!r}"
            )
        options = find_int8(job.options) if job.precision == "int8" else job.options
        loaded = open_model(options)
        job = dataclasses.replace(job, options=options)
        runtime, manifest = _settle(job, loaded, listing, input_digest)
        parts = list_parts(manifest, job.output, job.shards, job.shard)
        pending = [part for part in parts if not part.path.is_file()]
        result = JobResult(parts=len(parts), skipped=len(parts) - len(pending))
        progress = Progress(parts, pending)
        if pending:
            engine = _run_on_ray if job.engine == "ray" else _run_locally
            for images, errors in engine(
                job, runtime, loaded, pending, shard_folder, progress
            ):
                result.images += images
                result.errors += errors
        progress.close()
    _clean_up(manifest, job.output)
    return result


def split_part(part: Part, image_size: int) -> list[local_engine.Range]:
    """Splits a part into the ranges that are classified at once.

    Args:
        part: Part of the output.
        image_size: Side of the model's input, pixels.
    """
    step = batch_size(image_size)
    return [
        (first, min(first + step, part.stop))
        for first in range(part.start, part.stop, step)
    ]


def write_part(rows: Rows, part: Part, work_folder: Path) -> None:
    """Writes a part under another name and renames it.

    Args:
        rows: All rows of the part.
        part: Part of the output.
        work_folder: Folder of unfinished files, in the same file system.

    Raises:
        OSError: The file cannot be written.
    """
    unfinished = work_folder / part.path.name
    WRITERS[part.path.suffix.removeprefix(".")](rows, unfinished)
    publish(unfinished, part.path)


def _check(job: Job) -> None:
    if job.options.top < 1:
        raise ValueError(f"`top` must be at least 1. Received: top={job.options.top}")
    if job.part_size is not None and job.part_size < 1:
        raise ValueError(
            f"`part_size` must be at least 1. Received: part_size={job.part_size}"
        )
    if job.format == "parquet":
        require_package("pyarrow.parquet", "batch")
    if job.engine == "ray":
        require_package("ray.data", "ray")


def _settle(
    job: Job, loaded: Loaded, listing: Listing, input_digest: str
) -> tuple[Runtime, Manifest]:
    """Settles the runtime and the manifest, which finished parts have fixed."""
    options = job.options
    fixed: dict[str, Any] = {
        "model_digest": digest_model(loaded),
        "input_digest": input_digest,
        "images": len(listing),
        "options": {
            "top": options.top,
            "probabilities": options.probabilities,
            "embeddings": options.embeddings,
            "precision": job.precision,
            "format": job.format,
        },
    }
    found = read_manifest(job.output)
    if found is not None:
        chosen: dict[str, Any] = {}
        if job.part_size:
            chosen["part_size"] = job.part_size
        if job.runtime != "auto":
            chosen["runtime"] = job.runtime
        check_manifest(found, fixed | chosen, job.output)
    copy = job.output / WORK / f"model-{fixed['model_digest'][:16]}.tflite"
    requested = job.runtime
    if found is not None and found.runtime in ("keras", "litert"):
        requested = found.runtime
    runtime = choose_runtime(
        loaded, options, listing, copy, requested, is_verified=found is not None
    )
    if found is None:
        write_labels(loaded.labels, job.output / LABELS_FILE)
        size = job.part_size or default_part_size(len(listing), job.shards)
        wanted = Manifest(
            model=options.model,
            input=job.input,
            part_size=size,
            runtime=runtime.name,
            **fixed,
        )
        found = settle_manifest(wanted, job.output)
    return runtime, found


def _run_locally(
    job: Job,
    runtime: Runtime,
    loaded: Loaded,
    pending: Sequence[Part],
    folder: Path,
    progress: Progress,
) -> Iterator[tuple[int, int]]:
    size = loaded.preprocessing.image_size
    ranges = [found for part in pending for found in split_part(part, size)]
    workers = job.workers or usable_processors()
    if runtime.uses_processes:
        progress.start(f"{runtime.name}, {workers} processes")
        found = local_engine.predict_in_processes(
            runtime.options, folder, ranges, workers
        )
    else:
        reason = f" ({runtime.reason})" if runtime.reason else ""
        progress.start(f"{runtime.name}{reason}, {workers} decoding threads")
        classifier = Classifier(loaded, runtime.options, Listing(folder))
        found = local_engine.predict_in_threads(classifier, ranges, workers)
    for part in pending:
        rows = Rows()
        while len(rows) < part.stop - part.start:
            batch = next(found)
            rows.extend(batch)
            progress.add(len(batch))
        write_part(rows, part, folder)
        yield len(rows), rows.errors


def _run_on_ray(
    job: Job,
    runtime: Runtime,
    loaded: Loaded,
    pending: Sequence[Part],
    folder: Path,
    progress: Progress,
) -> Iterator[tuple[int, int]]:
    del loaded  # each actor loads its own
    progress.start(f"{runtime.name}, {job.workers or 'as many as fit'} Ray actors")
    for images, errors in predict_on_ray(
        runtime.options, folder, folder, pending, job.workers
    ):
        progress.add(images)
        yield images, errors


def _clean_up(manifest: Manifest, output: Path) -> None:
    """Removes the unfinished files' folder when all tasks have finished."""
    if all(part.path.is_file() for part in list_parts(manifest, output, 1, 0)):
        shutil.rmtree(output / WORK, ignore_errors=True)
