"""Memory and time of rematerialisation.

python -m benchmarks.remat [--model=b0] [--batch=16] [--steps=3]

Each setting of `TrainConfig.remat` trains B0 on a fixed batch in a separate process.
"peak" is the highest resident set size of the process, "of the step" its growth beyond
the size after building the model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

SETTINGS = ("", "1", "1,2", "1,2,3", "all")  # stages; the first ones need most memory
CLASSES = 1000
MIB = 1024  # `ru_maxrss` counts KiB


def measure(stages: str, model_name: str, batch: int, steps: int) -> dict[str, float]:
    """Trains in this process and returns MiB and seconds per step."""
    import tensorflow as tf

    from training.config import TrainConfig
    from training.engine import distribution, model, train_state, train_step
    from training.optim import optimizers

    config = TrainConfig(model=model_name, batch_size=batch, remat=stages)
    side = config.resolution
    data = tf.ones((batch, side, side, 3)), tf.zeros(batch, tf.int32), tf.ones(batch)
    net = model.build(config, CLASSES)
    optim = optimizers.make_optimizer("rmsprop", 1e-3, config.weight_decay)
    everything = train_state.TrainState(net, optim, config.ema_decay)
    take = train_step.make_train_step(
        everything, distribution.make_strategy("one_device"), config
    )
    built = _peak()
    seconds = []
    for _ in range(1 + steps):
        start = time.perf_counter()
        take(*data)
        everything.sums.numpy()
        seconds.append(time.perf_counter() - start)
    return {
        "peak": _peak(),
        "of_step": _peak() - built,
        "seconds": statistics.median(seconds[1:]),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="b0")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        print(json.dumps(measure(args.worker, args.model, args.batch, args.steps)))
        return
    print(f"{args.model}, batch {args.batch}")
    print(
        f"{'remat':<8} {'peak MiB':>9} {'of the step':>12} {'saved':>6} {'s/step':>7}"
    )
    kept = 0.0
    for stages in SETTINGS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.remat", f"--worker={stages}"]
            + [f"--{k}={getattr(args, k)}" for k in ("model", "batch", "steps")],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        kept = kept or found["of_step"]
        print(
            f"{stages or 'none':<8} {found['peak']:>9.0f} {found['of_step']:>12.0f} "
            f"{1 - found['of_step'] / kept:>6.0%} {found['seconds']:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
