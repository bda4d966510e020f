"""Memory estimate for conversions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# TensorFlow's converter to TFLite and tf2onnx keep many copies of the weights. Measured
# peaks: 3.6 GB for EfficientNetV2S, 18.7 GB for EfficientNetV2L.
BYTES_PER_PARAMETER = 35 * 4
OVERHEAD = 2_000_000_000  # bytes: TensorFlow and the Keras model
# Formats that use neither converter.
FRUGAL = frozenset({"saved_model", "openvino"})
_MEMORY = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")  # limit of a container


def find_memory_warnings(formats: Iterable[str], params: int) -> list[str]:
    """Warns if conversions probably need more memory than there is.

    The system kills a process that runs out of memory, without any message.

    Args:
        formats: Names of formats.
        params: Number of parameters of the network.

    Returns:
        A list with one warning; empty if the memory suffices or the free memory is
        unknown.
    """
    heavy = sorted(set(formats) - FRUGAL)
    needed, free = BYTES_PER_PARAMETER * params, available_bytes()
    if not heavy or free is None or needed <= free:
        return []
    return [
        f"converting {params / 1e6:,.0f} million parameters to {', '.join(heavy)} "
        f"takes about {needed / 1e9:,.0f} GB of memory, and {free / 1e9:,.0f} GB are "
        "free; the system may kill the process"
    ]


def available_bytes() -> int | None:
    """Returns the memory that new processes can use; None if it is not known."""
    if not _MEMORY.is_file():  # not Linux
        return None
    free = None
    for line in _MEMORY.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            free = 1024 * int(value.split()[0])
    limit = _read_number("memory.max")
    if free is None or limit is None:
        return free
    return min(free, limit - (_read_number("memory.current") or 0))


def _read_number(name: str) -> int | None:
    path = _CGROUP / name
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None
