"""Format detection and reading of weight files."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

from ...common.files import open_regular
from .base import Arrays, LayerOrder, naming_file, open_zip

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# Pickle of protocol 2 that starts with torch's magic number.
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
    """Reads a weight file, detecting the format from its content.

    Args:
        path: Path of the file; for a TensorFlow checkpoint, its folder or prefix.
        layer_order: Layers of the network that the file is meant for. Used only for
            Keras files that number the layers of each class.
        ema: Whether to prefer moving averages of the weights, if the file has them.
        is_verified: Whether a trusted checksum was verified. Other HDF5 files are read
            in a sandboxed process, which takes 0.15 to 0.3 s longer.

    Returns:
        Arrays by their names in the file; "layer/variable" for Keras formats.

    Raises:
        ImportError: The format requires a library that is not installed.
        ValueError: The format is unknown, or the file is damaged or truncated.
    """
    with naming_file(path, "a weight file"):
        reader = _find_reader(path)
    return reader(path, _Options(layer_order, ema, is_verified))


def check_format(path: Path) -> None:
    """Checks the format of a weight file by its beginning.

    Args:
        path: Path of the file.

    Raises:
        ValueError: The format is unknown.
    """
    with naming_file(path, "a weight file"):
        _find_reader(path)


def _find_reader(path: Path) -> Callable[[Path, _Options], Arrays]:
    from . import tf_checkpoint

    if tf_checkpoint.is_checkpoint(path):
        return _read_tf_checkpoint
    with open_regular(path) as stream:
        start = stream.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    if start.startswith(_GZIP_MAGIC) or start[_TAR_MAGIC_AT:] == _TAR_MAGIC:
        return _read_tar
    if start[8:9] == b"{":  # follows the length of the header
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
        raise ValueError(f"it is a zip archive, but of neither Keras nor torch: {held}")
    raise ValueError(
        "its content must be HDF5 (.h5), a Keras archive (.keras), a torch file (.pth, "
        ".pt), safetensors, or a TensorFlow checkpoint in a tar file (.tar.gz). It "
        f"begins with {start[:16]!r}"
    )


# Each reader is imported on demand, so that `import keras_efficientnet` stays fast.
def _read_hdf5(path: Path, options: _Options) -> Arrays:
    from . import hdf5_sandbox, keras_hdf5

    # A file with a trusted checksum does not need the sandbox.
    if options.is_verified or not hdf5_sandbox.can_start():
        return keras_hdf5.read(path, options.layer_order)
    return hdf5_sandbox.read(path, options.layer_order)


def _read_torch(path: Path, options: _Options) -> Arrays:
    from . import pytorch

    with naming_file(path, "a torch file"):
        return pytorch.read(path, options.ema)


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
