"""TFRecord and ArrayRecord files: ImageNet's, or those of training.prepare."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from keras_efficientnet.preprocessing import imagenet_classes

from .base import Source, Split, with_validation
from .records import Layout, array_record_split, record_split
from .shard_manifest import ShardManifest, read_shard_manifest

# Source: tensorflow/tpu, imagenet_input.py: `ImageNetInput.dataset_parser`.
_IMAGE, _LABEL, _FIRST_LABEL = "image/encoded", "image/class/label", 1
_SPLITS = ("train", "validation", "test")
_SHARD = re.compile(r"-(\d+)-of-(\d+)(?=(?:\.\w+)?$)")


def tfrecord(pattern: str) -> Source:
    """Opens TFRecord files of ImageNet, or of any data set by training.prepare.

    Args:
        pattern: Folder or glob pattern of files, local or any that tf.io.gfile reads.
            Files named "train-*", "validation-*" and "test-*" form the splits.

    Returns:
        The source. Its classes are those of the manifest that training.prepare
        writes; without one they are ImageNet's, named by their WordNet ids. Without
        validation files, a tenth of each training class is held out by a fixed rule.

    Raises:
        ValueError: There are no such files, files of a folder are missing, a file
            does not match the manifest, or a file or record is damaged.
    """
    return _open(pattern, "tfrecord")


def arrayrecord(pattern: str) -> Source:
    """Opens ArrayRecord files with the records of `tfrecord`.

    Args:
        pattern: See `tfrecord`; the files must be local.

    Raises:
        ValueError: See `tfrecord`.
        ImportError: The package array_record is not installed.
    """
    return _open(pattern, "arrayrecord")


def _open(pattern: str, kind: str) -> Source:
    expanded = os.path.expanduser(pattern)
    is_folder = tf.io.gfile.isdir(expanded)
    found = tf.io.gfile.glob(os.path.join(expanded, "*") if is_folder else expanded)
    parts = {
        name: sorted(p for p in found if os.path.basename(p).startswith(f"{name}-"))
        for name in _SPLITS
    }
    parts = {name: paths for name, paths in parts.items() if paths}
    if not parts:
        raise ValueError(
            "`data` must match files named train-*, validation-* or test-*. "
            f"Received: data='{kind}:{pattern}', which matches none"
        )
    folders = {os.path.dirname(path) for paths in parts.values() for path in paths}
    manifests = {folder: read_shard_manifest(folder) for folder in sorted(folders)}
    for folder, manifest in manifests.items():
        paths = [p for name in parts for p in parts[name] if _folder(p) == folder]
        if manifest is not None:
            _check_format(folder, manifest, kind)
            manifest.check_files(folder, paths, complete=is_folder)
    if is_folder:
        for paths in parts.values():
            _check_complete(paths)
    names = _class_names(manifests)
    layout = Layout(_IMAGE, _LABEL, _FIRST_LABEL, len(names))
    splits = {n: _split(paths, layout, kind, manifests) for n, paths in parts.items()}
    return Source(names, with_validation(splits))


def _split(
    paths: Sequence[str],
    layout: Layout,
    kind: str,
    manifests: Mapping[str, ShardManifest | None],
) -> Split:
    checksums = []
    for path in paths:
        manifest = manifests[_folder(path)]
        name = os.path.basename(path)
        checksums.append(manifest.shards[name].sha256 if manifest else None)
    open_split = record_split if kind == "tfrecord" else array_record_split
    return open_split(paths, layout, checksums)


def _check_format(folder: str, manifest: ShardManifest, kind: str) -> None:
    if manifest.format != kind:
        raise ValueError(
            f"`data` must name the files of {folder} as {manifest.format}:GLOB. "
            f"Received: {kind}:GLOB"
        )


def _class_names(manifests: Mapping[str, ShardManifest | None]) -> tuple[str, ...]:
    """Returns the class names, which must be the same in all folders."""
    by_folder = {
        folder: manifest.class_names if manifest else _imagenet_names()
        for folder, manifest in manifests.items()
    }
    (first, names), *others = by_folder.items()
    for folder, found in others:
        if found != names:
            raise ValueError(
                "All record files must have the same classes in the same order. "
                f"Received: {first} with {len(names)} classes ({names[0]}, ...) and "
                f"{folder} with {len(found)} classes ({found[0]}, ...)"
            )
    return names


def _imagenet_names() -> tuple[str, ...]:
    return tuple(wnid for wnid, _ in imagenet_classes())


def _folder(path: str) -> str:
    return os.path.dirname(path)


def _check_complete(paths: Sequence[str]) -> None:
    """Checks that no shard is missing, where file names contain their number."""
    shards = [_SHARD.search(path) for path in paths]
    there = {int(shard[1]) for shard in shards if shard}
    totals = {int(shard[2]) for shard in shards if shard}
    if len(totals) != 1:
        return
    missing = sorted(set(range(*totals)) - there)
    if missing:
        example = _SHARD.sub(f"-{missing[0]:05d}-of-{max(totals):05d}", paths[0])
        raise ValueError(
            f"All {max(totals)} files must exist; use a glob pattern to read only some "
            f"of them. Received: a folder without {len(missing)}, the first {example}"
        )
