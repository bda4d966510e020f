"""TensorFlow checkpoints: a folder, a prefix such as "model.ckpt", or a tar file.

A checkpoint of training has several values per variable: the raw value, its moving
average, and the optimizer's slots, each named after the variable. Only one of the first
two is read.

Source: tensorflow/tpu, efficientnet/main.py (which averages and slots there are).
"""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from ...common.files import open_regular
from . import tensor_bundle
from .base import Arrays, total_bound

_AVERAGE = "/ExponentialMovingAverage"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_COUNTERS = frozenset({"global_step"})
# Files of a checkpoint except for the graph (.meta).
_MEMBER = re.compile(r"[\w.-]+\.(?:index|data-\d{5}-of-\d{5})|checkpoint")
_MAX_MEMBERS = 10_000
_GZIP_MAGIC = b"\x1f\x8b"


def is_checkpoint(path: Path) -> bool:
    """Returns whether a path is the folder, prefix or index file of a checkpoint."""
    if path.is_dir():
        return any(path.glob("*.index"))
    is_index = path.suffix == ".index" and path.is_file()
    return is_index or tensor_bundle.index_file(path).is_file()


def read(path: Path, ema: bool = True) -> Arrays:
    """Reads the variables of a checkpoint.

    Args:
        path: Path of the folder, prefix or index file.
        ema: Whether to prefer moving averages of the weights, if the checkpoint has
            them. Published accuracies were measured with the averages.

    Returns:
        Arrays by variable name, without optimizer slots and counters.

    Raises:
        ValueError: The checkpoint is damaged, `path` is ambiguous, or only some of the
            variables have averages.
    """
    prefix = _find_prefix(path)
    index = tensor_bundle.read_index(prefix)
    if _OBJECT_GRAPH in index.entries:
        raise ValueError(
            "it is an object-based checkpoint (tf.train.Checkpoint or SavedModel), "
            "whose variables have no names; save the model itself as "
            ".keras or .weights.h5"
        )
    sources = _select(index.entries, ema)
    arrays = tensor_bundle.read_arrays(prefix, index, sources.values())
    return {name: arrays[source] for name, source in sources.items()}


def read_tar(path: Path, ema: bool = True) -> Arrays:
    """Reads the variables of a checkpoint inside a `.tar` or `.tar.gz` file.

    Only regular files with the name of a checkpoint file are extracted, into a
    temporary folder and ignoring the folders of the archive.

    Args:
        path: Path of the archive.
        ema: Whether to prefer moving averages, as in `read`.

    Raises:
        ValueError: The archive is damaged, expands too much, or holds none or several
            checkpoints; or see `read`.
    """
    with tempfile.TemporaryDirectory(prefix="keras_efficientnet-") as folder:
        with open_regular(path) as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            content: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
            bounded: Any = _Bounded(content, total_bound(path.stat().st_size))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                _unpack(archive, Path(folder))
        return read(Path(folder), ema)


class _Bounded:
    """Wraps a stream and raises an error after a maximum number of bytes."""

    def __init__(self, stream: IO[bytes], bound: int) -> None:
        self._stream = stream
        self._left = bound

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("it expands to far more than its size")
        return data


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    seen: dict[str, str] = {}
    for count, member in enumerate(archive):
        name = member.name.rsplit("/", 1)[-1]
        if count >= _MAX_MEMBERS:
            raise ValueError(f"it holds more than {_MAX_MEMBERS} files")
        if not _MEMBER.fullmatch(name):
            continue
        # A sparse file can claim any size; published files are not sparse.
        if not member.isreg() or member.issparse():
            raise ValueError(f"its {member.name!r} must be a regular file")
        if name in seen:
            raise ValueError(
                f"it must hold one checkpoint, not {seen[name]!r} and {member.name!r}"
            )
        seen[name] = member.name
        content: Any = archive.extractfile(member)
        with (folder / name).open("xb") as target:
            shutil.copyfileobj(content, target)
    if not any(name.endswith(".index") for name in seen):
        raise ValueError("it holds no TensorFlow checkpoint, no file *.index")


def _find_prefix(path: Path) -> Path:
    if not path.is_dir():
        return path.with_suffix("") if path.suffix == ".index" else path
    prefixes = sorted(file.with_suffix("") for file in path.glob("*.index"))
    if len(prefixes) == 1:
        return prefixes[0]
    latest = _latest(path)
    chosen = [prefix for prefix in prefixes if prefix.name == latest]
    if not chosen:
        held = ", ".join(prefix.name for prefix in prefixes[:5])
        raise ValueError(f"it holds {len(prefixes)} checkpoints; name one of {held}")
    return chosen[0]


def _latest(folder: Path) -> str | None:
    """Returns the name of the latest checkpoint, from the file "checkpoint"."""
    state = folder / "checkpoint"
    if not state.is_file():
        return None
    with open_regular(state) as stream:
        text = stream.read(10_000).decode("utf-8", errors="replace")
    match = re.search(r'^model_checkpoint_path: "(?:[^"\n]*/)?([^"/\n]+)"', text, re.M)
    return match[1] if match else None


def _select(names: Iterable[str], ema: bool) -> dict[str, str]:
    """Maps the name of each variable to the name of the value to read."""
    listed = set(names)
    averages = {name for name in listed if name.endswith(_AVERAGE)}
    bare = {name.removesuffix(_AVERAGE) for name in averages}
    variables = {
        name
        for name in listed - averages - _COUNTERS
        # Slots are named after the variable that they belong to.
        if name.rpartition("/")[0] not in listed | bare
    }
    if not ema or not averages:
        return {name: name for name in sorted(variables)}
    lonely = sorted(variables - bare)
    if lonely:
        raise ValueError(
            f"{len(lonely)} of its variables have no moving average, such as "
            f"{lonely[0]!r}; pass `ema=False` to read the raw values"
        )
    return {name: name + _AVERAGE for name in sorted(bare)}
