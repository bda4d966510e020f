"""Time to build B0 to B7, against keras.applications, in one process.

python -m benchmarks.build_time [--variants=B0,B7] [--repeats=5]

The two are built in turn, so that changes in the machine's speed affect both; the
printed ratio is the median of the ratios per pair.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable

import keras

import keras_efficientnet


def seconds_to_build(factory: Callable[..., keras.Model]) -> float:
    """Builds a model with random weights and returns the wall time in seconds."""
    keras.backend.clear_session()
    gc.collect()
    start = time.perf_counter()
    factory(weights=None)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default="B0,B1,B2,B3,B4,B5,B6,B7")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{'variant':<8} {'ours s':>8} {'keras.applications s':>21} {'ratio':>6}")
    for variant in args.variants.split(","):
        ours = getattr(keras_efficientnet, f"EfficientNet{variant}")
        theirs = getattr(keras.applications, f"EfficientNet{variant}")
        seconds_to_build(ours), seconds_to_build(theirs)  # warm-up
        pairs = [
            (seconds_to_build(ours), seconds_to_build(theirs))
            for _ in range(args.repeats)
        ]
        ratio = statistics.median(a / b for a, b in pairs)
        ours_s, theirs_s = (
            statistics.median(column) for column in zip(*pairs, strict=True)
        )
        print(f"{variant:<8} {ours_s:8.2f} {theirs_s:21.2f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
