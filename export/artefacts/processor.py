"""Name of the processor, and its instructions that decide on latencies."""

from __future__ import annotations

import os
from pathlib import Path

from keras_efficientnet.cost.tflite_latency import processor_name

_CPU_INFO = Path("/proc/cpuinfo")
# Flag of Linux -> its common name, the more capable the later.
_EXTENSIONS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "bfloat16",
    "amx_int8": "AMX int8",
    "asimddp": "int8 dot products",
    "i8mm": "int8 matrix products",
}
# Variables that forbid instructions to the runtimes that we measure.
_LIMITS = ("ONEDNN_MAX_CPU_ISA",)


def describe_processor() -> str:
    """Returns such as "AMD EPYC with AVX2"."""
    name, extensions = processor_name(), _extensions()
    limits = [f"{x}={os.environ[x]}" for x in _LIMITS if x in os.environ]
    return name + " with " * bool(extensions) + ", ".join([*extensions, *limits])


def _extensions() -> list[str]:
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return []
    flags: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags.update(value.split())
    return [name for flag, name in _EXTENSIONS.items() if flag in flags]
