"""Manifest of prepared record files: classes, counts and checksums."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_efficientnet.common.image_folders import shorten

MANIFEST = "manifest.json"
WORK = "_work"  # subfolder of unfinished files
PLAN = "plan.json"  # in that subfolder: options of the unfinished files
FORMATS = {"tfrecord": "", "arrayrecord": ".array_record"}  # format -> suffix


@dataclasses.dataclass(frozen=True)
class ShardFacts:
    """Content of one record file.

    Attributes:
        images: Number of images.
        bytes: Size of the file.
        sha256: Checksum of the file.
        per_class: Number of images of each class that has any, by class index.
        skipped: Images that could not be decoded and were left out, with the reason.
    """

    images: int
    bytes: int
    sha256: str
    per_class: Mapping[int, int]
    skipped: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ShardFacts:
        """Restores the facts from JSON, where keys are texts and tuples lists."""
        counts = {int(label): int(n) for label, n in values["per_class"].items()}
        others = {"per_class": counts, "skipped": tuple(values["skipped"])}
        return cls(**{**values, **others})


@dataclasses.dataclass(frozen=True)
class ShardManifest:
    """Content of a folder of record files, as training.prepare writes it.

    Attributes:
        format: Format of the files, a key of `FORMATS`.
        class_names: Names of the classes, in index order; labels in the files are the
            indices plus 1.
        images: Split -> number of images.
        shards: File name -> its content.
        options: Options of training.prepare that determine the files.
    """

    format: str
    class_names: tuple[str, ...]
    images: Mapping[str, int]
    shards: Mapping[str, ShardFacts]
    options: Mapping[str, Any]

    def to_json(self) -> str:
        """Returns the text of the manifest file."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ShardManifest:
        """Reads the text of a manifest file.

        Raises:
            ValueError: It is not such a text.
        """
        try:
            values = json.loads(text)
            shards = {n: ShardFacts.from_json(v) for n, v in values["shards"].items()}
            names = tuple(values["class_names"])
            return cls(**{**values, "class_names": names, "shards": shards})
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(
                f"it is not a manifest of training.prepare: {error}"
            ) from error

    def check_files(self, folder: str, paths: Sequence[str], *, complete: bool) -> None:
        """Checks the names and sizes of record files against the manifest.

        Args:
            folder: Folder of the manifest.
            paths: Paths of the files to read.
            complete: Whether all files of the manifest must be among them.

        Raises:
            ValueError: A file is missing, unknown or has another size.
        """
        names = {os.path.basename(path): path for path in paths}
        missing = sorted(self.shards.keys() - names.keys())
        if complete and missing:
            raise ValueError(
                f"All {len(self.shards)} files of the {MANIFEST} must exist; use a "
                "glob pattern to read only some of them. Received: "
                f"{folder} without {shorten(missing)}"
            )
        for name, path in names.items():
            if name not in self.shards:
                raise ValueError(
                    f"Record files must be listed in the {MANIFEST} of their folder. "
                    f"Received: {path}"
                )
            size = tf.io.gfile.stat(path).length
            if size != self.shards[name].bytes:
                raise ValueError(
                    "Record files must not change after they were prepared. Received: "
                    f"{path} with {size:,} bytes instead of "
                    f"{self.shards[name].bytes:,}"
                )


def read_shard_manifest(folder: str) -> ShardManifest | None:
    """Reads the manifest of a folder of record files; returns None without one.

    Args:
        folder: Folder, local or any that tf.io.gfile reads.

    Raises:
        ValueError: The manifest is damaged, or the preparation is not finished.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        with tf.io.gfile.GFile(path, "r") as stream:
            text = stream.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        if tf.io.gfile.exists(os.path.join(folder, WORK, PLAN)):
            raise ValueError(
                "The record files must be complete; run training.prepare again with "
                f"the same flags to finish them. Received: {folder}"
            ) from None
        return None
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(f"{path} must be readable: {error}") from error
    try:
        return ShardManifest.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path} must be complete: {error}") from error
