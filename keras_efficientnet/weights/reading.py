"""Reading a weight file of any format into arrays by name."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
# (class name, layer name) of layers, in the order of `model.layers`.
LayerOrder = list[tuple[str, str]]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# A pickle of protocol 2 that starts with torch's magic number.
TORCH_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_GZIP_MAGIC = b"\x1f\x8b"
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


@dataclasses.dataclass(frozen=True)
class _Options:
    layer_order: LayerOrder
    ema: bool
    is_verified: bool


def read(
    path: Path,
    layer_order: LayerOrder,
    ema: bool = True,
    is_verified: bool = False,
) -> Arrays:
    """Reads the weights in a file, whose format its content tells.

    Args:
        path: Of the file; of a TensorFlow checkpoint, its folder or prefix too.
        layer_order: Of the network that the file is meant for. Used only for Keras
            files that number the layers of each class.
        ema: Whether to take moving averages where the file has them too.
        is_verified: Whether the file has a checksum that somebody vouches for. HDF5
            without is read in a process of its own, which adds 0.15 to 0.3 s.

    Returns:
        Arrays by the name they have in the file; for Keras formats, "layer/variable".

    Raises:
        ImportError: The format needs a library that is not installed.
        ValueError: The format is unknown, or the file is damaged or truncated.
    """
    with naming_file(path, "a weight file"):
        reader = _find_reader(path)
    return reader(path, _Options(layer_order, ema, is_verified))


def check_format(path: Path) -> None:
    """Checks that a file begins like a weight file, without reading it.

    Args:
        path: Of the file.

    Raises:
        ValueError: The format is unknown.
    """
    with naming_file(path, "a weight file"):
        _find_reader(path)


@contextlib.contextmanager
def naming_file(path: Path, kind: str) -> Iterator[None]:
    """Turns any error into a ValueError that names the file.

    Args:
        path: Of the file.
        kind: What the file must be, for the message.
    """
    try:
        yield
    except ImportError:
        raise  # tells what to install
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {reason}") from error


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive for reading, unless it is made to explode.

    Args:
        path: Of the archive.

    Raises:
        ValueError: Its entries overlap, are compressed in an unusual way, or are far
            larger in total than the archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"its entry {entry.filename!r} has an odd compression")
        if sum(entry.compress_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries overlap")
        check_total((entry.file_size for entry in entries), path)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads one file of a zip archive, unless it grows suspiciously on the way.

    Args:
        archive: Opened for reading.
        name: Of the entry.

    Raises:
        ValueError: There is no such entry, or it is damaged, or far larger than
            its compressed size.
    """
    if name not in archive.NameToInfo:
        raise ValueError(f"it has no entry {name!r}; it may be truncated")
    entry = archive.getinfo(name)
    if entry.file_size > growth_bound(entry.compress_size):
        raise ValueError(
            f"its entry {name!r} would grow from {entry.compress_size} to "
            f"{entry.file_size} bytes"
        )
    return archive.read(entry)


def check_total(sizes: Iterable[int], path: Path) -> None:
    """Checks that what is read from a file stays within a multiple of its size.

    Args:
        sizes: Bytes of each part.
        path: Of the file.

    Raises:
        ValueError: It does not.
    """
    total, stored = sum(sizes), path.stat().st_size
    if total > total_bound(stored):
        raise ValueError(f"it would grow from {stored} to {total} bytes")


def total_bound(stored: int) -> int:
    """Returns how many bytes a whole file of `stored` bytes may grow to."""
    return 20 * stored + (64 << 20)


def growth_bound(stored: int) -> int:
    """Returns how many bytes may at most come out of `stored` compressed ones."""
    # Trained weights hardly compress; a file that claims more is broken, or bait.
    return 100 * max(stored, 10_000)


def _find_reader(path: Path) -> Callable[[Path, _Options], Arrays]:
    from . import tf_checkpoint

    if tf_checkpoint.is_checkpoint(path):
        return _read_tf_checkpoint
    with path.open("rb") as stream:
        start = stream.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    if start.startswith(_GZIP_MAGIC) or start[_TAR_MAGIC_AT:] == _TAR_MAGIC:
        return _read_tar
    if start[8:9] == b"{":  # after the length of the header
        return _read_safetensors
    if start.startswith(HDF5_MAGIC):
        return _read_hdf5
    if start.startswith(TORCH_LEGACY_MAGIC):
        return _read_torch
    if start.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise ValueError("it is a truncated or damaged zip archive")
        with open_zip(path) as archive:
            names = archive.namelist()
        if "model.weights.h5" in names:
            return _read_hdf5
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            return _read_torch
        held = ", ".join(names[:5])
        raise ValueError(f"it is a zip archive, but neither Keras' nor torch's: {held}")
    raise ValueError(
        "its content must be HDF5 (.h5), a Keras archive (.keras), a torch file (.pth, "
        ".pt), safetensors, or a TensorFlow checkpoint in a tar file (.tar.gz). It "
        f"begins with {start[:16]!r}"
    )


# Each reader is imported when a file needs it, so that `import keras_efficientnet`
# stays fast.
def _read_hdf5(path: Path, options: _Options) -> Arrays:
    from . import isolated

    # Of a file that somebody vouches for, the HDF5 library has nothing to fear.
    if options.is_verified or not isolated.can_start():
        return read_hdf5(path, options.layer_order)
    return isolated.read(path, options.layer_order)


def read_hdf5(path: Path, layer_order: LayerOrder) -> Arrays:
    """Reads Keras weights in HDF5, bare or in an archive, in this very process.

    Args:
        path: Of the file.
        layer_order: As in `read`.

    Raises:
        ValueError: The file is damaged.
    """
    import h5py

    from . import h5, keras3

    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    if is_archive:
        with naming_file(path, "a Keras archive"), open_zip(path) as archive:
            layer_order = keras3.layer_order(read_entry(archive, "config.json"))
            content = io.BytesIO(read_entry(archive, "model.weights.h5"))
            with h5py.File(content, "r") as file:
                return keras3.read(file, layer_order)
    with naming_file(path, "Keras weights in HDF5"), h5py.File(path, "r") as file:
        if h5.is_legacy(file):
            return h5.read(file)
        return keras3.read(file, layer_order)


def _read_torch(path: Path, options: _Options) -> Arrays:
    from . import pth

    with naming_file(path, "a torch file"):
        return pth.read(path, options.ema)


def _read_safetensors(path: Path, options: _Options) -> Arrays:
    del options
    from . import safetensors_file

    with naming_file(path, "safetensors"):
        return safetensors_file.read(path)


def _read_tf_checkpoint(path: Path, options: _Options) -> Arrays:
    from . import tf_checkpoint

    with naming_file(path, "a TensorFlow checkpoint"):
        return tf_checkpoint.read(path, options.ema)


def _read_tar(path: Path, options: _Options) -> Arrays:
    from . import tf_checkpoint

    with naming_file(path, "a TensorFlow checkpoint in a tar file"):
        return tf_checkpoint.read_tar(path, options.ema)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Widens bfloat16 numbers, given as uint16 bit patterns, without loss."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
