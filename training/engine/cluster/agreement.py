"""Consistency checks of the workers before the first step."""

from __future__ import annotations

import hashlib
import pathlib
import secrets
import time

import numpy as np
import tensorflow as tf

import keras_efficientnet
from keras_efficientnet.common.files import write_text

from ...config import TrainConfig
from ...config.checks import settings
from ...data.sources import Source, Split
from ...data.sources.base import relative
from ..train_state import TrainState
from .workers import Workers

TOKEN = ".workers"  # file in the run folder during the check
# Network file systems show new files late; NFS refreshes after 60 seconds.
SHARED_WITHIN_S = 75.0
_MOST_NAMES = 10_000  # image names in the digest of a split
_READ_IMAGES = 8  # image files in the digest of a split


def check_config(workers: Workers, config: TrainConfig) -> None:
    """Checks that all workers have the same configuration and package version.

    Raises:
        ValueError: They differ; the message names the fields and the workers.
    """
    if workers.count == 1:
        return
    fields = {f"`{k}`": repr(v) for k, v in settings(config).items()}
    version = {"version": keras_efficientnet.__version__}
    workers.check_equal("configuration and package version", fields | version)


def check_source(workers: Workers, source: Source) -> None:
    """Checks that all workers read the same classes and images.

    Raises:
        ValueError: They differ; the message names the splits and the workers.
    """
    if workers.count == 1:
        return
    names = source.class_names
    facts = {"`class_names`": f"{len(names)} names, digest {_digest(*names)}"}
    for name, split in source.splits.items():
        facts[name] = f"{len(split)} images, digest {_digest_split(split)}"
    workers.check_equal("data", facts)


def check_state(workers: Workers, state: TrainState, part: str = "") -> None:
    """Checks that all workers have the same weights.

    Args:
        workers: Workers of the run.
        state: State of this worker, restored or initial.
        part: "model" for the weights of the model only.

    Raises:
        ValueError: They differ; the message names the workers.
    """
    if workers.count > 1:
        step, found = int(state.step.numpy()), state.checksum(part)
        facts = {"step": f"{step:,}", "checksum": f"{found:08x}"}
        workers.check_equal("weights", facts)


def check_shared(workers: Workers, folder: pathlib.Path) -> None:
    """Checks that all workers see the chief's files in the run folder.

    Args:
        workers: Workers of the run.
        folder: Run folder, created if needed.

    Raises:
        ValueError: A worker does not see them; the message names it.
    """
    if workers.count == 1:
        return
    token = secrets.token_hex(8)
    file = folder / TOKEN

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, token)

    workers.by_chief(write)
    sees = workers.gather(_sees(file, workers.gather_text(token)[0]))[:, 0]
    if workers.is_chief:
        file.unlink(missing_ok=True)
    blind = [name for name, seen in zip(workers.names, sees, strict=True) if not seen]
    if blind:
        raise ValueError(
            f"`workdir` must be a folder that all workers share. {', '.join(blind)} "
            f"cannot read what {workers.names[0]} writes. Received: workdir={folder}"
        )


def _sees(file: pathlib.Path, token: str) -> bool:
    deadline = time.monotonic() + SHARED_WITHIN_S
    while True:
        try:
            if file.read_text(encoding="utf-8") == token:
                return True
        except OSError:
            pass  # not there yet
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _digest_split(split: Split) -> str:
    """Returns a digest of the labels and weights, of names and of a few images.

    Names are relative, because workers may keep the data in different folders.
    """
    shown = _evenly(len(split), _MOST_NAMES)
    parts: list[str | bytes] = [split.labels.tobytes()]
    if split.soft_labels is not None:
        parts.append(split.soft_labels.tobytes())
    if split.weights is not None:
        parts.append(split.weights.tobytes())
    parts += relative([split.names[i] for i in shown])
    parts += [_read(split, i) for i in _evenly(len(split), _READ_IMAGES)]
    return _digest(*parts)


def _evenly(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()


def _read(split: Split, position: int) -> bytes:
    try:
        image = split.read(tf.constant(position, tf.int64)).numpy()
    except tf.errors.OpError:  # training reports it or skips it
        return b""
    return image if isinstance(image, bytes) else image.tobytes()


def _digest(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()[:12]
