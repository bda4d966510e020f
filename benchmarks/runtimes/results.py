"""Results of `benchmarks.inference`: summary, comparison with earlier ones, tables."""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_efficientnet.common.markdown import table
from keras_efficientnet.cost.tflite_latency import processor_name

REFERENCE = "onnx"  # contender that ratios compare with
TOLERANCE = 1.25  # largest ratio to the committed one that counts as unchanged
BEGIN, END = "<!-- inference: begin -->", "<!-- inference: end -->"
_PACKAGES = ("keras", "tensorflow-cpu", "ai-edge-litert", "onnxruntime", "openvino")
_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
_TITLES = {
    "keras": "Keras, `predict`",
    "saved_model": "`saved_model`",
    "saved_model_onednn": "`saved_model`, with `TF_ENABLE_ONEDNN_OPTS=1`",
    "tflite": "`tflite`",
    "tflite_int8": "`tflite_int8`",
    "keras_litert": "Keras' LiteRT export of keras.applications",
    "onnx": "`onnx`",
    "onnx_int8": "`onnx_int8`",
    "openvino": "`openvino`",
    "openvino_int8": "`openvino_int8`",
    "torch": "PyTorch, eager, timm",
    "classify": "`saved_model`, signature `classify`",
    "decode": "decoding in TensorFlow, without a network",
}

Rounds = Mapping[str, Sequence[Sequence[float]]]  # contender -> round -> milliseconds


def summarize(rounds: Rounds, images: int) -> dict[str, dict[str, float]]:
    """Summarises the latencies of contenders that took turns.

    Args:
        rounds: Milliseconds of each run, by contender and round.
        images: Number of images per run.

    Returns:
        By contender: percentiles in milliseconds, images per second, and the median
        over rounds of the ratio of its median to that of `REFERENCE`.
    """
    medians = {name: [*map(statistics.median, x)] for name, x in rounds.items()}
    found = {}
    for name, times in rounds.items():
        every = np.concatenate([np.asarray(x) for x in times])
        pairs = zip(medians[name], medians[REFERENCE], strict=True)
        found[name] = {
            "p50_ms": round(float(np.percentile(every, 50)), 2),
            "p95_ms": round(float(np.percentile(every, 95)), 2),
            "images_per_s": round(images * 1000 / float(every.mean()), 1),
            "ratio": round(statistics.median(a / b for a, b in pairs), 3),
        }
    return found


def machine() -> dict[str, Any]:
    """Describes the processor and the versions of the packages."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = set(next((x for x in lines if x.startswith("flags")), "").split())
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor_name(),
        "features": [x for x in _FEATURES if x in flags],
        "cores": len(os.sched_getaffinity(0)),
        "python": ".".join(map(str, sys.version_info[:3])),
        "versions": versions,
    }


def compare(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Lists the ratios that have changed by more than `TOLERANCE`.

    Args:
        new: Results of this run.
        old: Committed results; times are not compared, which depend on the machine.
    """
    lines, before = [], dict(_ratios(old))
    for key, ratio in _ratios(new):
        if key in before and not 1 / TOLERANCE <= ratio / before[key] <= TOLERANCE:
            change = "slower" if ratio > before[key] else "faster"
            lines.append(
                f"{', '.join(key)}: {ratio:.2f} of {REFERENCE}, {change} than the "
                f"committed {before[key]:.2f}"
            )
    return lines


def _ratios(results: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for network, cells in results["networks"].items():
        for cell, contenders in cells.items():
            for name, values in contenders.items():
                yield (network, cell, name), values["ratio"]


def format_tables(results: Mapping[str, Any]) -> str:
    """Formats results as Markdown, one table per network and kind of input."""
    facts = results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    features = ", ".join(facts["features"])
    parts = [f"{facts['processor']} ({features}), {facts['cores']} cores; {versions}."]
    for network, cells in results["networks"].items():
        for is_request in (False, True):
            chosen = {
                k: v for k, v in cells.items() if k.endswith("JPEG") == is_request
            }
            if chosen:
                parts.append(_format_table(network, chosen))
        missing = results["missing"].get(network, {})
        if missing:
            reasons = "; ".join(f"{_TITLES[k]} ({v})" for k, v in missing.items())
            parts.append(f"Not measured for {network}: {reasons}.")
    for network, found in results["conversion"].items():
        parts.append(
            f"Conversion of {network} to TFLite takes {found['seconds']:.1f} s, "
            f"Keras' LiteRT export {found['keras_seconds']:.1f} s: ratio "
            f"{found['ratio']:.2f}."
        )
    return "\n\n".join(parts)


def _format_table(network: str, cells: Mapping[str, Any]) -> str:
    names = dict.fromkeys(name for cell in cells.values() for name in cell)
    return table(
        [
            {network: _TITLES[name]}
            | {key: _format_cell(cell.get(name)) for key, cell in cells.items()}
            for name in names
        ]
    )


def _format_cell(values: Mapping[str, float] | None) -> str:
    if values is None:
        return ""
    times = f"{values['p50_ms']:.1f} / {values['p95_ms']:.1f}"
    return f"{times}, {values['images_per_s']:.0f}/s, {values['ratio']:.2f}"


def replace_tables(page: str, tables: str) -> str:
    """Returns a page with new tables between the marks `BEGIN` and `END`."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{tables}\n{END}{tail}"
