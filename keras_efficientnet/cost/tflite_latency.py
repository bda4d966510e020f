"""TFLite latency, measured on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ..architecture import Variant, block_plan
from ..common.files import cache_dir, write_text
from ..litert.conversion import convert_to_litert

WARM_UP = 3  # discarded runs
MAX_RUNS = 50
MAX_SECONDS = 1.0  # of measurement; a slow network gets fewer runs, at least 3


@dataclasses.dataclass(frozen=True)
class Latency:
    """Latency of one image on one thread, milliseconds.

    Attributes:
        median_ms: Median over the runs.
        p95_ms: 95th percentile over the runs.
    """

    median_ms: float
    p95_ms: float


def time_calls(
    run: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> Latency:
    """Measures the latency of a call.

    Args:
        run: Function that classifies one image.
        clock: Function that returns seconds; `time.thread_time` excludes the time of
            other processes.
    """
    for _ in range(WARM_UP):
        run()
    times: list[float] = []
    while len(times) < 3 or (len(times) < MAX_RUNS and sum(times) < MAX_SECONDS):
        start = clock()
        run()
        times.append(clock() - start)
    median, p95 = (1000 * float(q) for q in np.quantile(times, (0.5, 0.95)))
    return Latency(median, p95)


def tflite_latency(variant: Variant, classes: int = 1000) -> float:
    """Measures the latency of one image on one TFLite thread, in float32.

    CPU time of the thread is measured, so that other load on the machine does not
    count. Results are cached on disk; see `cache_path`.

    Args:
        variant: Scaling of the network. Its weights are random, which does not affect
            the latency.
        classes: Number of classes of the classifier.

    Returns:
        Median latency, milliseconds.

    Raises:
        ImportError: TensorFlow or LiteRT is not installed.
        ValueError: Keras does not use the TensorFlow backend.
    """
    key = _key(variant, classes)
    known = _read_cache()
    if key not in known:
        found = _measure_tflite(variant, classes).median_ms
        known = _read_cache() | {key: found}  # other processes may have written
        # Without a writable cache, the measurement still counts.
        with contextlib.suppress(OSError):
            _write_cache(known)
    return float(known[key])


def cache_path() -> pathlib.Path:
    """Returns the path of the file that caches measurements.

    It lies in the cache folder, under ~/.keras or $KERAS_HOME, and its name is a hash
    of the machine and the runtime, so that another processor or version of LiteRT has
    its own file.
    """
    machine = [processor_name(), str(os.cpu_count()), platform.machine()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        machine += [importlib.metadata.version("ai-edge-litert")]
    digest = hashlib.sha256("\n".join(machine).encode()).hexdigest()[:16]
    return cache_dir() / f"latency-{digest}.json"


def _measure_tflite(variant: Variant, classes: int) -> Latency:
    # Imported here because the models themselves need neither.
    try:
        from ai_edge_litert.interpreter import Interpreter

        content = _convert(variant, classes)
    except ImportError as error:
        raise ImportError(
            "TensorFlow and LiteRT must be installed to measure latency: "
            "pip install 'efficientnet-keras[cpu,export]'. "
            f"Received: {error}"
        ) from error
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], np.full(entry["shape"], 100, np.float32))
    return time_calls(interpreter.invoke, time.thread_time)


def _convert(variant: Variant, classes: int) -> bytes:
    from ..efficientnet import build

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Latency can only be measured with Keras' TensorFlow backend. "
            f"Received: {keras.backend.backend()!r}"
        )
    return convert_to_litert(build(variant, classes=classes), variant.resolution)


def _key(variant: Variant, classes: int) -> str:
    # Hash of the resolved plan, because many scalings round to the same network.
    ends = (variant.stem_filters, variant.head_filters, variant.resolution, classes)
    text = repr((ends, variant.conventions.activation, block_plan(variant)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def processor_name() -> str:
    """Returns the name of the processor, or that of the machine if it is unknown."""
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.node()


def _read_cache() -> dict[str, Any]:
    try:
        found = json.loads(cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or damaged: measure again
        return {}
    return found if isinstance(found, dict) else {}


def _write_cache(known: dict[str, Any]) -> None:
    path = cache_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known, indent=1), shared=True)
