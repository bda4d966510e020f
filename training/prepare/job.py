"""Prepares a data set: plans the record files, writes them and resumes."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common.cli.job_progress import JobProgress
from keras_efficientnet.common.cli.processes import start_worker
from keras_efficientnet.common.files import lock, write_text
from keras_efficientnet.common.image_folders import shorten

from ..data.decode_errors import MOST
from ..data.sources.records import import_array_record
from ..data.sources.shard_manifest import (
    FORMATS,
    MANIFEST,
    PLAN,
    WORK,
    ShardFacts,
    ShardManifest,
)
from .images import BadImageError, Conversion, ImageEntry, ImageList
from .shards import (
    ARRAY_RECORD_WRITER,
    ShardTask,
    find_finished,
    write_shard,
)

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """Options of a preparation.

    Attributes:
        format: Format of the files, a key of `FORMATS`.
        conversion: Conversion of the images.
        images_per_shard: Approximate number of images per file.
        seed: Seed of the order of the images.
        skip_bad: Whether to leave out images that cannot be decoded, up to 1% of a
            split.
        workers: Number of processes; 1: no additional ones.
    """

    format: str = "tfrecord"
    conversion: Conversion = dataclasses.field(default_factory=Conversion)
    images_per_shard: int = 1251  # as in the original's 1024 files
    seed: int = 0
    skip_bad: bool = False
    workers: int = 1

    def plan(self, images: ImageList) -> dict[str, Any]:
        """Returns everything that determines the files, as JSON values."""
        return {
            "format": self.format,
            "resize": self.conversion.resize,
            "quality": self.conversion.quality if self.conversion.resize else None,
            "images_per_shard": self.images_per_shard,
            "seed": self.seed,
            "images": {name: len(found) for name, found in images.splits.items()},
            "digest": images.digest,
        }


def prepare(images: ImageList, output: Path, options: PrepareOptions) -> ShardManifest:
    """Writes a data set as shuffled record files with a manifest.

    The files depend on the images and the options only, not on the number of
    processes. Files of an interrupted session with the same options are kept.

    Args:
        images: Images of the data set.
        output: Folder of the files.
        options: Options.

    Returns:
        The manifest.

    Raises:
        BadImageError: An image cannot be decoded, unless `skip_bad` is set.
        ValueError: The folder holds other record files or is in use, or too many
            images cannot be decoded.
        ImportError: The package array_record is needed and not installed.
        OSError: A file cannot be read or written.
    """
    if options.format == "arrayrecord":
        import_array_record(ARRAY_RECORD_WRITER)
    tasks = _plan_shards(images, output, options)
    plan = options.plan(images)
    with lock(output / WORK / ".lock", "output"):
        finished = _open_folder(output, plan)
        if finished is not None and _is_complete(finished, output):
            manifest = finished
        else:
            if finished is not None:
                _restore_facts(finished, tasks)
            facts = _write_all(tasks, options.workers)
            manifest = _make_manifest(images, tasks, facts, plan)
            write_text(output / MANIFEST, manifest.to_json())
        shutil.rmtree(output / WORK)
    return manifest


def _plan_shards(
    images: ImageList, output: Path, options: PrepareOptions
) -> list[ShardTask]:
    """Shuffles the images of each split and divides them among its files."""
    tasks = []
    for split, entries in images.splits.items():
        # RandomState gives the same numbers in every version of NumPy.
        random = np.random.RandomState([options.seed, _SPLITS.index(split)])
        order = random.permutation(len(entries))
        shards = max(1, round(len(entries) / options.images_per_shard))
        for number, part in enumerate(np.array_split(order, shards)):
            stem = f"{split}-{number:05d}-of-{shards:05d}"
            tasks.append(
                ShardTask(
                    stem + FORMATS[options.format],
                    output,
                    tuple(entries[i] for i in part),
                    images.class_names,
                    options.conversion,
                    options.format,
                    options.skip_bad,
                )
            )
    return tasks


def _open_folder(output: Path, plan: Mapping[str, Any]) -> ShardManifest | None:
    """Checks that the folder is empty or of the same data set, and marks it.

    Returns:
        The manifest of an earlier session that was finished, or None.
    """
    path, manifest = output / WORK / PLAN, None
    others = sorted(p.name for s in _SPLITS for p in output.glob(f"{s}-*"))
    found: Mapping[str, Any] = plan
    if (output / MANIFEST).exists():
        text = (output / MANIFEST).read_text(encoding="utf-8")
        try:
            manifest = ShardManifest.from_json(text)
        except ValueError as error:
            raise _foreign(output, f"with another {MANIFEST}") from error
        found = manifest.options
    elif others and not path.exists():
        raise _foreign(output, f"with {shorten(others)}")
    elif others:
        found = json.loads(path.read_text(encoding="utf-8"))
    changes = [
        f"{name}={found.get(name)!r}, not {value!r}"
        for name, value in plan.items()
        if found.get(name) != value
    ]
    if changes:
        raise _foreign(output, f"which was prepared with {'; '.join(changes)}")
    write_text(path, json.dumps(plan))
    return manifest


def _foreign(output: Path, reason: str) -> ValueError:
    return ValueError(
        "`output` must be empty or hold files of the same images and options; choose "
        f"another folder. Received: output={output}, {reason}"
    )


def _is_complete(manifest: ShardManifest, output: Path) -> bool:
    return all(
        (output / name).is_file() and (output / name).stat().st_size == facts.bytes
        for name, facts in manifest.shards.items()
    )


def _restore_facts(manifest: ShardManifest, tasks: Sequence[ShardTask]) -> None:
    """Restores the facts of finished files, of which some were lost or changed."""
    for task in tasks:
        facts = manifest.shards.get(task.name)
        if facts is not None:
            write_text(task.facts_path, json.dumps(dataclasses.asdict(facts)))


def _write_all(tasks: Sequence[ShardTask], workers: int) -> dict[str, ShardFacts]:
    """Writes the files that are not finished; returns the facts of all by name."""
    facts = {}
    for task in tasks:
        found = find_finished(task)
        # Without `skip_bad`, files that an earlier session wrote with it do not count.
        if found is not None and (task.skip_bad or not found.skipped):
            facts[task.name] = found
    pending = [task for task in tasks if task.name not in facts]
    progress = JobProgress(sum(len(task.entries) for task in pending))
    finished = f", {len(facts)} files are finished" if facts else ""
    progress.start(f" in {len(pending)} files{finished}; workers: {workers}")
    for task, found in _write_pending(pending, workers):
        facts[task.name] = found
        progress.add(len(task.entries))
    progress.close()
    return facts


def _write_pending(
    pending: Sequence[ShardTask], workers: int
) -> Iterator[tuple[ShardTask, ShardFacts]]:
    """Writes files in worker processes and yields them in the order of completion."""
    workers = min(workers, len(pending))
    if workers <= 1:
        for task in pending:
            yield task, write_shard(task)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker
    )
    try:
        # A few tasks at a time: each has the names of its images.
        waiting: dict[concurrent.futures.Future[ShardFacts], ShardTask] = {}
        for task in pending:
            waiting[pool.submit(write_shard, task)] = task
            if len(waiting) >= 2 * workers:
                yield from _collect(waiting)
        while waiting:
            yield from _collect(waiting)
    except concurrent.futures.process.BrokenProcessPool as error:
        raise RuntimeError(
            "A worker process has ended unexpectedly, perhaps for lack of memory; "
            "use fewer `workers`. The same command resumes after the finished files"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(
    waiting: dict[concurrent.futures.Future[ShardFacts], ShardTask],
) -> Iterator[tuple[ShardTask, ShardFacts]]:
    """Waits until a file is finished and yields those that are."""
    first = concurrent.futures.FIRST_COMPLETED
    done, _ = concurrent.futures.wait(waiting, return_when=first)
    for future in done:
        yield waiting.pop(future), future.result()


def _start_worker() -> None:
    # A terminal sends Ctrl-C to all processes; the parent ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_worker()


def _make_manifest(
    images: ImageList,
    tasks: Sequence[ShardTask],
    facts: Mapping[str, ShardFacts],
    plan: Mapping[str, Any],
) -> ShardManifest:
    counts = {}
    for split, entries in images.splits.items():
        shards = [facts[t.name] for t in tasks if t.name.startswith(f"{split}-")]
        skipped = [reason for shard in shards for reason in shard.skipped]
        _check_skipped(split, skipped, entries)
        counts[split] = sum(shard.images for shard in shards)
        if split == "train":
            _check_classes(images.class_names, shards)
    return ShardManifest(
        format=str(plan["format"]),
        class_names=images.class_names,
        images=counts,
        shards={task.name: facts[task.name] for task in tasks},
        options=plan,
    )


def _check_skipped(
    split: str, skipped: Sequence[str], entries: Sequence[ImageEntry]
) -> None:
    if len(skipped) > MOST * len(entries):
        raise BadImageError(
            f"At most {MOST:.0%} of the images may be undecodable under "
            f"on_bad_image=skip, {math.floor(MOST * len(entries))} of "
            f"{len(entries)} in {split}. Received: {len(skipped)}: {shorten(skipped)}"
        )


def _check_classes(names: Sequence[str], shards: Sequence[ShardFacts]) -> None:
    present = {label for shard in shards for label in shard.per_class}
    empty = [name for label, name in enumerate(names) if label not in present]
    if empty:
        raise ValueError(
            "Each class must have training images that can be decoded. "
            f"Received: none of {shorten(empty)}"
        )
