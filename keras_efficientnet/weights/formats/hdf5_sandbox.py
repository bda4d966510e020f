"""Sandboxed process for reading untrusted HDF5 files.

The HDF5 library is not safe against malformed files: some crash the process and some
hang it, whatever the caller checks. Therefore a file without a trusted checksum is read
in a separate process with resource limits, which returns only names and numbers.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np

if __name__ != "__main__":
    from .base import Arrays, LayerOrder, total_bound

_ENVIRONMENT = {
    "HDF5_PLUGIN_PRELOAD": "::",  # do not load external filters
    "HDF5_USE_FILE_LOCKING": "FALSE",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_MEMORY_BYTES = 1 << 30  # for Python and its libraries
_CPU_SECONDS = 20  # for a small file
_MAX_HEAD_BYTES = 64 << 20


def can_start() -> bool:
    """Returns whether this program can start a Python process."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def read(path: Path, layer_order: LayerOrder) -> Arrays:
    """Reads Keras weights from an HDF5 file or a `.keras` archive, in either layout.

    Args:
        path: Path of the file.
        layer_order: Class and name of each layer, as in `keras_hdf5.read`.

    Raises:
        ValueError: The file is damaged, or reading it crashes or takes more time or
            memory than its size justifies.
    """
    size = path.stat().st_size
    cpu_seconds = _CPU_SECONDS + size // 10_000_000
    request = {
        "path": str(path.absolute()),
        "layer_order": layer_order,
        "memory": _MEMORY_BYTES + 2 * total_bound(size),
        "cpu_seconds": cpu_seconds,
    }
    answer, code = _ask(request, 4.0 * cpu_seconds, total_bound(size))
    if isinstance(answer, str):
        raise ValueError(answer)
    if answer is None:
        raise ValueError(
            f"{path} cannot be read as Keras weights: the HDF5 library {_ending(code)}"
        )
    return answer


def _ask(
    request: dict[str, Any], timeout: float, bound: int
) -> tuple[Arrays | str | None, int]:
    """Returns the result of `_receive` and the exit status of the process."""
    process: Any = subprocess.Popen(
        [sys.executable, "-P", __file__],
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    # For systems without a CPU time limit, and for reads that block forever.
    timer = threading.Timer(timeout, process.kill)
    answer = None
    with process:
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:
                stream.write(json.dumps(request).encode())
            # A truncated or garbled response counts as none.
            with contextlib.suppress(KeyError, TypeError, ValueError):
                answer = _receive(process.stdout, bound)
        except BaseException:
            process.kill()
            raise
        finally:
            process.stdout.close()
            process.wait()
            timer.cancel()
    return answer, process.returncode


def _ending(code: int) -> str:
    if code in (-getattr(signal, "SIGXCPU", 0), -getattr(signal, "SIGKILL", 0)):
        return "hangs on it"
    return f"crashes on it (exit status {code})"


def _receive(stream: io.BufferedReader, bound: int) -> Arrays | str | None:
    """Receives arrays or an error message; returns None if neither arrived."""
    head = stream.readline(_MAX_HEAD_BYTES)
    if not head.endswith(b"\n"):
        return None
    content = json.loads(head)
    if "error" in content:
        return str(content["error"])
    arrays: Arrays = {}
    for name, kind, shape in content["arrays"]:
        dtype = np.dtype(kind)
        bound -= dtype.itemsize * int(np.prod(shape, dtype=object))
        if bound < 0 or dtype.kind not in "fiub":
            return None
        arrays[name] = np.empty(shape, dtype)
        view = _bytes(arrays[name])
        while view:
            count = stream.readinto(view)
            if not count:
                return None
            view = view[count:]
    return arrays


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _serve() -> None:
    """Serves the request on standard input, inside the sandboxed process."""
    request = json.load(sys.stdin)
    # The package without its __init__, which would import Keras.
    package: Any = types.ModuleType("keras_efficientnet")
    package.__path__ = [str(Path(__file__).parents[2])]
    sys.modules["keras_efficientnet"] = package
    keras_hdf5 = importlib.import_module(
        "keras_efficientnet.weights.formats.keras_hdf5"
    )
    _set_limits(request)
    order = [tuple(pair) for pair in request["layer_order"]]
    try:
        arrays = keras_hdf5.read(Path(request["path"]), order)
    except ValueError as error:
        _send({"error": str(error)})
        return
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    _send({"arrays": [[n, a.dtype.str, a.shape] for n, a in arrays.items()]})
    for array in arrays.values():
        sys.stdout.buffer.write(_bytes(array))


def _send(head: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")


def _set_limits(request: dict[str, Any]) -> None:
    if sys.platform == "win32":
        return
    import resource

    for name, limit in (
        ("RLIMIT_AS", request["memory"]),
        ("RLIMIT_CPU", request["cpu_seconds"]),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),  # it does not write files
    ):
        # Not every system supports each of these limits.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            kind = getattr(resource, name)
            _, hard = resource.getrlimit(kind)
            if hard != resource.RLIM_INFINITY:
                limit = min(limit, hard)
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    _serve()
