"""Runs a batch prediction job: plans parts, runs an engine, writes and resumes."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_efficientnet.common.files import lock
from keras_efficientnet.common.output_activation import SIGMOID
from keras_efficientnet.common.sidecars import LABELS_FILE, write_labels
from keras_efficientnet.litert.interpreters import usable_processors

from ..extras import require_package
from ..loading import Loaded
from . import local_engine
from .classifier import Classifier, open_model
from .inputs import list_locations
from .listing import Listing, write_listing
from .manifest import (
    WORK,
    Manifest,
    check_manifest,
    read_manifest,
    settle_manifest,
)
from .options import RUNTIMES, Job
from .parts import Part, default_part_size, list_parts, split_part, write_part
from .progress import Progress
from .ray_engine import predict_on_ray
from .rows import Rows
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
        result = _predict(job, loaded, listing, input_digest, shard_folder)
        # Only this task's, since others may run.
        shutil.rmtree(shard_folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        shard_folder.parent.rmdir()  # of the last task that ends
    return result


def _predict(
    job: Job, loaded: Loaded, listing: Listing, input_digest: str, folder: Path
) -> JobResult:
    """Predicts the unfinished parts of a task."""
    fixed = _fixed_fields(job, loaded, listing, input_digest)
    manifest = _find_manifest(job, fixed)
    runtime = None
    if manifest is None or _list_pending(job, manifest):
        runtime = _choose_runtime(job, loaded, listing, fixed, manifest)
        manifest = manifest or _write_manifest(job, loaded, fixed, runtime)
    parts = list_parts(manifest, job.output, job.shards, job.shard)
    pending = _list_pending(job, manifest)
    result = JobResult(parts=len(parts), skipped=len(parts) - len(pending))
    if runtime is not None and pending:
        progress = Progress(parts, pending)
        engine = _run_on_ray if job.engine == "ray" else _run_locally
        for images, errors in engine(job, runtime, loaded, pending, folder, progress):
            result.images += images
            result.errors += errors
        progress.close()
    _clean_up(manifest, job.output)
    return result


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


def _fixed_fields(
    job: Job, loaded: Loaded, listing: Listing, input_digest: str
) -> dict[str, Any]:
    """Returns the fields of the manifest that finished parts must share."""
    options = job.options
    # Absent otherwise, so that folders of earlier versions can be resumed.
    is_multi_label = loaded.output_activation == SIGMOID and loaded.runner.outputs > 1
    kind = {"multi_label": True} if is_multi_label else {}
    return {
        "model_digest": digest_model(loaded),
        "input_digest": input_digest,
        "images": len(listing),
        "options": {
            "top": options.top,
            "probabilities": options.probabilities,
            "embeddings": options.embeddings,
            "precision": job.precision,
            "format": job.format,
            **kind,
        },
    }


def _find_manifest(job: Job, fixed: Mapping[str, Any]) -> Manifest | None:
    found = read_manifest(job.output)
    if found is not None:
        chosen: dict[str, Any] = {}
        if job.part_size:
            chosen["part_size"] = job.part_size
        if job.runtime != "auto":
            chosen["runtime"] = job.runtime
        check_manifest(found, {**fixed, **chosen}, job.output)
    return found


def _choose_runtime(
    job: Job,
    loaded: Loaded,
    listing: Listing,
    fixed: Mapping[str, Any],
    found: Manifest | None,
) -> Runtime:
    """Chooses the runtime; that of finished parts is kept."""
    copy = job.output / WORK / f"model-{fixed['model_digest'][:16]}.tflite"
    is_fixed = found is not None and found.runtime in RUNTIMES
    return choose_runtime(
        loaded,
        job.options,
        listing,
        copy,
        found.runtime if found is not None and is_fixed else job.runtime,
        is_verified=found is not None,
    )


def _write_manifest(
    job: Job, loaded: Loaded, fixed: Mapping[str, Any], runtime: Runtime
) -> Manifest:
    write_labels(loaded.labels, job.output / LABELS_FILE)
    wanted = Manifest(
        model=job.options.model,
        input=job.input,
        part_size=job.part_size or default_part_size(fixed["images"], job.shards),
        runtime=runtime.name,
        **fixed,
    )
    return settle_manifest(wanted, job.output)


def _list_pending(job: Job, manifest: Manifest) -> list[Part]:
    parts = list_parts(manifest, job.output, job.shards, job.shard)
    return [part for part in parts if not part.path.is_file()]


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
    """Removes the converted model when all tasks have finished."""
    if all(part.path.is_file() for part in list_parts(manifest, output, 1, 0)):
        for copy in (output / WORK).glob("model-*.tflite"):
            copy.unlink(missing_ok=True)
