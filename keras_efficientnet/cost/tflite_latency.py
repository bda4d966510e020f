"""How long one image takes, measured on this machine."""

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

WARM_UP = 3  # runs that do not count
MAX_RUNS = 50
MAX_SECONDS = 1.0  # of measuring; a slow network gets fewer runs, at least 3


@dataclasses.dataclass(frozen=True)
class Latency:
    """How long one image takes on one thread, milliseconds.

    Attributes:
        median_ms: Half of the runs are quicker.
        p95_ms: 95 of 100 runs are quicker.
    """

    median_ms: float
    p95_ms: float


def time_calls(
    run: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> Latency:
    """Measures how long a call takes.

    Args:
        run: Classifies one image.
        clock: Seconds; `time.thread_time` leaves out the time of other processes.
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
    """Returns how long one image takes on one thread of TFLite, in float32.

    It is the thread's own time, so that what else the machine does is not remembered as
    the network's. What was measured on this machine before is read from a file; see
    `cache_path`.

    Args:
        variant: Scaling of the network; the weights, which do not matter, are random.
        classes: Number of classes of the classifier.

    Returns:
        Median, milliseconds.

    Raises:
        ImportError: TensorFlow or LiteRT is not installed.
        ValueError: Keras does not run on TensorFlow.
    """
    key = _key(variant, classes)
    known = _read_cache()
    if key not in known:
        found = _measure_tflite(variant, classes).median_ms
        known = _read_cache() | {key: found}  # others may have written meanwhile
        # A machine without a home measures, too.
        with contextlib.suppress(OSError):
            _write_cache(known)
    return float(known[key])


def cache_path() -> pathlib.Path:
    """Returns the file that keeps what was measured.

    It is in Keras' folder, ~/.keras or KERAS_HOME, and named after the machine and the
    runtime: another processor, or another version of LiteRT, is measured anew.
    """
    machine = [_processor(), str(os.cpu_count()), platform.machine()]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        machine += [importlib.metadata.version("ai-edge-litert")]
    digest = hashlib.sha256("\n".join(machine).encode()).hexdigest()[:16]
    return cache_dir() / f"latency-{digest}.json"


def _measure_tflite(variant: Variant, classes: int) -> Latency:
    # Imported here, because the models themselves need neither.
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
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    from ..efficientnet import build

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Latency can be measured with Keras' TensorFlow backend only. "
            f"Received: {keras.backend.backend()!r}"
        )
    shape = (1, variant.resolution, variant.resolution, 3)
    model = build(variant, classes=classes)
    call = tf.function(lambda images: model(images, training=False), autograph=False)
    function = call.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    # The converter would leave Keras' variables as they are, ten times as slow.
    frozen = convert_variables_to_constants_v2(function)
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [frozen], tf.Module()
    ).convert()


def _key(variant: Variant, classes: int) -> str:
    # The resolved plan, because many scalings round to one network.
    ends = (variant.stem_filters, variant.head_filters, variant.resolution, classes)
    text = repr((ends, variant.lite, block_plan(variant)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.node()


def _read_cache() -> dict[str, Any]:
    try:
        found = json.loads(cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged: measured again
        return {}
    return found if isinstance(found, dict) else {}


def _write_cache(known: dict[str, Any]) -> None:
    path = cache_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(known, indent=1), shared=True)
