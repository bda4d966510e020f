"""Reader and writer of `.safetensors` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...common.files import read_regular
from .base import Arrays, bfloat16_to_float32

EXTRA = 'pip install "efficientnet-keras[safetensors]"'
# NumPy type of each dtype, always little-endian.
_DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "u2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def import_library() -> Any:
    """Imports the library `safetensors`.

    Raises:
        ImportError: The library is not installed.
    """
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            f"`safetensors` must be installed for .safetensors files: {EXTRA}"
        ) from error
    return safetensors


def read(path: Path) -> Arrays:
    """Reads the tensors of a `.safetensors` file.

    Args:
        path: Path of the file.

    Returns:
        Arrays by their names in the file; bfloat16 is converted to float32.

    Raises:
        ImportError: The library `safetensors` is not installed.
        ValueError: The file is damaged, or holds an unsupported type.
    """
    library = import_library()
    arrays: Arrays = {}
    for name, tensor in library.deserialize(read_regular(path)):
        kind = tensor["dtype"]
        if kind not in _DTYPES:
            raise ValueError(f"its tensor {name!r} must hold numbers, not {kind}")
        dtype = np.dtype("<" + _DTYPES[kind])
        array = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
        arrays[name] = bfloat16_to_float32(array) if kind == "BF16" else array
    return arrays


def write(path: Path, arrays: Arrays) -> None:
    """Writes a `.safetensors` file.

    Args:
        path: Path of the file.
        arrays: Contiguous arrays by name.

    Raises:
        ImportError: The library `safetensors` is not installed.
    """
    import_library()
    import safetensors.numpy

    # Metadata that PyTorch's readers expect.
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
