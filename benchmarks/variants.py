"""Size, latency and conversion cost of every variant in TFLite.

python -m benchmarks.variants [--variants=EfficientNetB0,...] [--formats=...]

Weights are random, since size and speed do not depend on them. Each variant is
converted in a separate process; "GB" is the process' highest resident set size, and
milliseconds are the median for one image on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FORMATS = ("tflite", "tflite_float16", "tflite_dynamic", "tflite_int8")
VARIANTS = (
    *(f"EfficientNetLite{i}" for i in range(5)),
    *(f"EfficientNetB{i}" for i in range(8)),
)


def convert(variant: str, formats: list[str]) -> dict[str, object]:
    """Builds and converts a variant in this process.

    Returns:
        Format -> (MB, milliseconds, seconds of the conversion); and the keys "side",
        pixels, and "gigabytes".
    """
    import keras

    import keras_efficientnet
    from export import latency
    from export.formats.export_inputs import ExportInputs
    from export.formats.registry import FORMATS as ROWS

    keras.utils.set_random_seed(0)
    model = getattr(keras_efficientnet, variant)(weights=None)
    size = model.inputs[0].shape[1]
    noise = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    source = ExportInputs(
        model,
        size,
        tuple(f"class {i}" for i in range(1000)),
        keras_efficientnet.EvalPreprocessing(size),
        [noise.astype(np.float32)],
    )
    found: dict[str, object] = {"side": size}
    with tempfile.TemporaryDirectory() as folder:
        for name in formats:
            path = Path(folder) / ROWS[name].artefact
            start = time.perf_counter()
            ROWS[name].write(source, path)
            seconds = time.perf_counter() - start
            ms = latency.measure_artefact(ROWS[name], path, size).median_ms
            found[name] = (path.stat().st_size / 1e6, ms, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "gigabytes": peak * 1024 / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    formats = args.formats.split(",")
    if args.worker:
        print(json.dumps(convert(args.worker, formats)))
        return
    columns = [f"{name}, MB, ms, s" for name in formats]
    print(f"| variant | pixels | {' | '.join(columns)} | GB |")
    print("|---|---:" + "|---:" * len(formats) + "|---:|")
    for variant in args.variants.split(","):
        command = [sys.executable, "-m", "benchmarks.variants", f"--worker={variant}"]
        done = subprocess.run(
            [*command, f"--formats={args.formats}"],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        cells = ["{:.1f}, {:.1f}, {:.0f}".format(*found[name]) for name in formats]
        row = [variant, str(found["side"]), *cells, f"{found['gigabytes']:.1f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
