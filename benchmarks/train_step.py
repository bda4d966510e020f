"""Times a training step of B0 against `keras.applications` with `fit`, and PyTorch.

python -m benchmarks.train_step [--rounds=7] [--steps=4] [--starts=3] [--batch=16]

Each contender trains on the same fixed batch in memory, in its own process. The
processes take turns, a few steps each, so that changes in the machine's speed affect
all of them; the printed ratio is the median of the ratios per round. The time to the
first step runs from the start of building the model to the end of the first step, in
fresh processes, without imports. "torch" is efficientnet-pytorch as its users write
it; "tuned" is the same with channels_last and without its memory-efficient swish. Both
are skipped if torch or efficientnet-pytorch is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.workers import Worker, measure_rates, serve_seconds

SIZE, CLASSES = 224, 1000
RATE = 1e-3
BARS = {"fit": 1.05, "torch": 1.7}  # lowest ratio of ours to theirs, images per second
FIRST_STEP_BAR = 0.6  # highest ratio of ours to fit's

Steps = Callable[[int], Any]  # trains this number of steps and waits for the last one


def ours(images: Any, labels: Any) -> Callable[[], Steps]:
    """Returns a function that builds the training steps of this project."""
    import tensorflow as tf

    from training.config import TrainConfig
    from training.engine import distribution, model, train_state, train_step
    from training.optim import optimizers

    batch = tf.constant(images), tf.constant(labels), tf.ones(len(labels))

    def build() -> Steps:
        config = TrainConfig(batch_size=len(labels))
        net = model.build(config, CLASSES)
        optim = optimizers.make_optimizer("rmsprop", RATE, config.weight_decay)
        everything = train_state.TrainState(net, optim, config.ema_decay)
        used = distribution.make_strategy("one_device")
        take = train_step.make_train_step(everything, used, config)

        def steps(count: int) -> None:
            for _ in range(count):
                take(*batch)
            everything.sums.numpy()

        return steps

    return build


def fit(images: Any, labels: Any) -> Callable[[], Steps]:
    """Returns a function that builds `model.fit` on keras.applications' B0."""
    import keras

    data = repeated_batch(images, labels)

    def build() -> Steps:
        net = keras.applications.EfficientNetB0(weights=None, classes=CLASSES)
        net.compile(
            keras.optimizers.RMSprop(RATE, momentum=0.9),
            keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy"],
        )
        return lambda count: net.fit(data, steps_per_epoch=count, verbose=0)

    return build


def repeated_batch(images: Any, labels: Any) -> Any:
    """Returns an endless data set of one batch with one-hot labels for `fit`.

    Without autotuning: its thread may sleep for up to 20 seconds, which the iterator's
    destructor waits for, so that short calls of `fit` would seem slow.
    """
    import tensorflow as tf

    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensors((images, targets))
    return data.repeat().with_options(options)


def torch(images: Any, labels: Any) -> Callable[[], Steps]:
    """Returns a function that builds the usual steps of efficientnet-pytorch."""
    return _torch(images, labels, is_tuned=False)


def tuned(images: Any, labels: Any) -> Callable[[], Steps]:
    """Returns a function that builds the fastest steps of efficientnet-pytorch."""
    return _torch(images, labels, is_tuned=True)


def _torch(images: Any, labels: Any, *, is_tuned: bool) -> Callable[[], Steps]:
    import efficientnet_pytorch
    import torch

    x, y = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels).long()
    layout = torch.channels_last if is_tuned else torch.contiguous_format
    x = (x / 127.5 - 1).contiguous(memory_format=layout)

    def build() -> Steps:
        net = efficientnet_pytorch.EfficientNet.from_name("efficientnet-b0")
        if is_tuned:
            net.set_swish(memory_efficient=False)
        net = net.to(memory_format=layout).train()
        loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
        optim = torch.optim.RMSprop(
            net.parameters(), RATE, alpha=0.9, momentum=0.9, weight_decay=1e-5
        )

        def steps(count: int) -> None:
            for _ in range(count):
                optim.zero_grad()
                loss = loss_of(net(x), y)
                loss.backward()
                optim.step()
            loss.item()

        return steps

    return build


CONTENDERS = {"ours": ours, "fit": fit, "torch": torch, "tuned": tuned}


def work(name: str, batch: int) -> None:
    """Runs a contender: reads numbers of steps from stdin, writes seconds."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, SIZE, SIZE, 3)).astype(np.float32)
    build = CONTENDERS[name](images, rng.integers(0, CLASSES, batch).astype(np.int32))
    with _options(name):
        start = time.perf_counter()
        steps = build()
        steps(1)
        print(json.dumps(time.perf_counter() - start), flush=True)
        serve_seconds(steps)


@contextlib.contextmanager
def _options(name: str) -> Iterator[None]:
    if name != "ours":
        yield
        return
    from training.engine import train_step

    with train_step.skip_graph_optimization():  # as the training command does
        yield


def start(name: str, batch: int) -> tuple[Worker, float]:
    """Starts a contender; returns it and the seconds to the end of its first step."""
    command = [sys.executable, "-m", "benchmarks.train_step"]
    worker = Worker([*command, f"--worker={name}", f"--batch={batch}"])
    return worker, worker.read()


def first_steps(batch: int, starts: int) -> None:
    """Prints the time to the first step of this project and of `fit`."""
    found: dict[str, list[float]] = {"ours": [], "fit": []}
    for _ in range(starts):
        for name, seconds in found.items():
            worker, first_step_s = start(name, batch)
            worker.stop()
            seconds.append(first_step_s)
    pairs = zip(found["ours"], found["fit"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print("seconds to the end of the first step")
    for name, seconds in found.items():
        print(f"  {name:<6} {statistics.median(seconds):6.1f}")
    print(f"  ours / fit {ratio:.2f} (bar: at most {FIRST_STEP_BAR})")


def throughput(batch: int, rounds: int, steps: int) -> None:
    """Prints the images per second of all contenders, and our ratio to each."""
    has_torch = importlib.util.find_spec("efficientnet_pytorch") is not None
    names = [n for n in CONTENDERS if has_torch or n not in ("torch", "tuned")]
    workers = {name: start(name, batch)[0] for name in names}
    for worker in workers.values():
        worker.ask(2)
    found = measure_rates(workers, batch, steps, rounds)
    print(f"images per second, batch {batch}, {rounds} rounds of {steps} steps")
    for name, rates in found.items():
        print(f"  {name:<6} {statistics.median(rates):6.2f}")
    for name in names[1:]:
        pairs = zip(found["ours"], found[name], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        bar = f" (bar: at least {BARS[name]})" if name in BARS else ""
        print(f"  ours / {name} {ratio:.2f}{bar}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.batch)
        return
    throughput(args.batch, args.rounds, args.steps)
    first_steps(args.batch, args.starts)


if __name__ == "__main__":
    main()
