"""Writes record files, one per call, in worker processes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_efficientnet.common.files import publish, write_text
from keras_efficientnet.common.plain_text import printable, tf_reason

from ..data.sources.records import import_array_record
from ..data.sources.shard_manifest import WORK, ShardFacts
from .images import BadImageError, Conversion, ImageEntry, make_record

# A record per group, for random access; the images are compressed already.
ARRAY_RECORD_WRITER = "array_record_module"  # of the package array_record
_ARRAY_RECORD_OPTIONS = "group_size:1,uncompressed"
_NO_SPACE = {
    tf.errors.ResourceExhaustedError: errno.ENOSPC,
    tf.errors.PermissionDeniedError: errno.EACCES,
}


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Record file to write.

    Attributes:
        name: Name of the file.
        folder: Output folder.
        entries: Its images, in order.
        class_names: Names of all classes.
        conversion: Conversion of the images.
        format: Format of the file, "tfrecord" or "arrayrecord".
        skip_bad: Whether to leave out images that cannot be decoded, which are
            otherwise an error.
    """

    name: str
    folder: Path
    entries: tuple[ImageEntry, ...]
    class_names: tuple[str, ...]
    conversion: Conversion
    format: str
    skip_bad: bool

    @property
    def facts_path(self) -> Path:
        """Path of the file that keeps the facts until the manifest is written."""
        return self.folder / WORK / f"{self.name}.json"


def write_shard(task: ShardTask) -> ShardFacts:
    """Writes a record file under another name and renames it.

    Args:
        task: File to write.

    Raises:
        BadImageError: An image cannot be decoded, unless `skip_bad` is set.
        ImportError: The package array_record is not installed.
        OSError: A file cannot be read or written.
        ValueError: No image of the file can be decoded.
    """
    unfinished = task.folder / WORK / task.name
    counts: collections.Counter[int] = collections.Counter()
    skipped = []
    try:
        with _open_writer(task.format, unfinished) as write:
            for entry in task.entries:
                class_name = task.class_names[entry.label]
                try:
                    write(make_record(entry, class_name, task.conversion))
                except BadImageError as error:
                    if not task.skip_bad:
                        raise
                    skipped.append(printable(str(error)))
                else:
                    counts[entry.label] += 1
        if not counts:
            raise ValueError(
                f"A record file must contain images. Received: {task.name}, of whose "
                f"{len(task.entries)} images none can be decoded, such as {skipped[0]}"
            )
        facts = ShardFacts(
            images=counts.total(),
            bytes=unfinished.stat().st_size,
            sha256=_checksum(unfinished),
            per_class=dict(sorted(counts.items())),
            skipped=tuple(skipped),
        )
        # Before the file itself, which is thus never without its facts.
        write_text(task.facts_path, json.dumps(dataclasses.asdict(facts)))
        publish(unfinished, task.folder / task.name)
    except tf.errors.OpError as error:
        number = _NO_SPACE.get(type(error), errno.EIO)
        raise OSError(number, tf_reason(error), str(unfinished)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return facts


def find_finished(task: ShardTask) -> ShardFacts | None:
    """Returns the facts of a file that an earlier session has finished, if it has.

    Args:
        task: File to write.
    """
    try:
        facts = ShardFacts.from_json(json.loads(task.facts_path.read_text()))
        size = (task.folder / task.name).stat().st_size
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return facts if facts.bytes == size else None


@contextlib.contextmanager
def _open_writer(kind: str, path: Path) -> Iterator[Callable[[bytes], Any]]:
    if kind == "tfrecord":
        with tf.io.TFRecordWriter(str(path)) as records:
            yield records.write
        return
    module = import_array_record(ARRAY_RECORD_WRITER)
    writer = module.ArrayRecordWriter(str(path), _ARRAY_RECORD_OPTIONS)
    try:
        yield writer.write
    finally:
        writer.close()


def _checksum(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
