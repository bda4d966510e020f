"""Throughput on a GPU: our network under JAX against timm's under PyTorch.

python -m benchmarks.gpu [--networks=b0,b4] [--train_batches=64,128,256]
    [--infer_batches=64,256,1024] [--size=PIXELS] [--seconds=5] [--compiler=inductor]

Both get the same uint8 images, already on the device, and normalise them. Both use
dropout and stochastic depth of 0.2, float32 weights, bfloat16 arithmetic, and SGD with
momentum. Ours is one `jax.jit` of `stateless_call` with donated buffers; timm's is
`torch.compile`d, channels last, under autocast. Every measurement runs in its own
process, so that neither holds the other's memory; batches that do not fit are reported.
Without `--size`, each network gets images of its native size.

Floating-point operations are two per multiply-add of `plan_cost`, and three times as
many for a training step. The share of the peak is omitted on devices that are not in
`PEAKS`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Part of a device's name -> bfloat16 operations per second, dense.
# Source: NVIDIA's data sheets.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
}
DROP = 0.2
LEARNING_RATE, MOMENTUM = 0.01, 0.9
ROUNDS = 5

Step = Callable[[], Any]  # processes one batch and waits for the result


def ours(network: str, task: str, batch: int, size: int, compiler: str) -> Step:
    """Returns a step of our network; requires the JAX backend of Keras."""
    del compiler
    import jax
    import keras

    import keras_efficientnet
    from keras_efficientnet.architecture import find_variant

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = getattr(keras_efficientnet, find_variant(network))(
        weights=None,
        input_shape=(size, size, 3),
        classifier_activation=None,
        dropout=DROP,
        drop_connect=DROP,
    )
    images, labels = map(jax.device_put, examples(batch, size))
    weights = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    if task == "infer":
        predict = jax.jit(
            lambda w, o, x: model.stateless_call(w, o, x, training=False)[0]
        )
        return lambda: predict(weights, others, images).block_until_ready()

    optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)
    optimizer.build(model.trainable_variables)

    def loss_of(weights: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(weights, others, images, training=True)
        losses = keras.ops.sparse_categorical_crossentropy(labels, logits, True)
        return keras.ops.mean(losses), others

    def train(weights: Any, others: Any, slots: Any, images: Any, labels: Any) -> Any:
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = gradient(weights, others, images, labels)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return weights, others, slots, loss

    compiled = jax.jit(train, donate_argnums=(0, 1, 2))
    state = [weights, others, [variable.value for variable in optimizer.variables]]

    def step() -> float:
        *state[:], loss = compiled(*state, images, labels)
        return float(loss)

    return step


def timms(network: str, task: str, batch: int, size: int, compiler: str) -> Step:
    """Returns a step of timm's network; requires PyTorch and timm."""
    import timm
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    model = timm.create_model(
        f"efficientnet_{network}", drop_rate=DROP, drop_path_rate=DROP
    )
    model = model.to(device, memory_format=torch.channels_last).train(task == "train")
    pixels, labels = (torch.from_numpy(a).to(device) for a in examples(batch, size))
    pixels = pixels.permute(0, 3, 1, 2)  # a view; memory stays channels last
    mean = torch.tensor([123.675, 116.28, 103.53], device=device).view(1, 3, 1, 1)
    deviation = torch.tensor([58.395, 57.12, 57.375], device=device).view(1, 3, 1, 1)

    def logits_of(pixels: Any) -> Any:
        return model((pixels.float() - mean) / deviation)

    forward = torch.compile(logits_of, backend=compiler)

    def predict() -> Any:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            return forward(pixels)

    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=device == "cuda"
    )

    def train() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(forward(pixels), labels)
        loss.backward()
        optimizer.step()
        return loss

    def step() -> float:
        found = (predict if task == "infer" else train)()
        return float(found.detach().sum())  # waits for the device

    return step


CONTENDERS = {"ours": ours, "timm": timms}


def examples(batch: int, size: int) -> tuple[Any, Any]:
    """Returns images, (batch, size, size, 3), uint8, and labels, (batch,), int64."""
    import numpy as np

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, size, size, 3), np.uint8)
    return images, generator.integers(0, 1000, batch)


def images_per_second(step: Step, batch: int, seconds: float) -> float:
    """Returns the median rate of five rounds, after two steps that compile."""
    for _ in range(2):
        step()
    start = time.perf_counter()
    step()
    steps = max(1, round(seconds / ROUNDS / (time.perf_counter() - start)))
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        rates.append(steps * batch / (time.perf_counter() - start))
    return statistics.median(rates)


def device_name(contender: str) -> str:
    """Returns the name of the device that a contender runs on."""
    if contender == "ours":
        import jax

        return str(jax.devices()[0].device_kind)
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def peak_of(device: str) -> float | None:
    """Returns a device's bfloat16 operations per second, or None if unknown."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


def operations(network: str, task: str, size: int) -> float:
    """Returns the number of floating-point operations per image."""
    from keras_efficientnet import VARIANTS, plan_cost
    from keras_efficientnet.architecture import find_variant

    variant = VARIANTS[find_variant(network)]
    forward = 2 * plan_cost(variant, resolution=size).multiply_adds
    return forward * (3 if task == "train" else 1)


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Measures a job: contender, network, task, batch, size, seconds, compiler."""
    names = ("network", "task", "batch", "size", "compiler")
    step = CONTENDERS[job["contender"]](**{name: job[name] for name in names})
    rate = images_per_second(step, job["batch"], job["seconds"])
    return {"rate": rate, "device": device_name(job["contender"])}


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measures a job in a new process; returns {"error": ...} if that fails."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", f"--job={json.dumps(job)}"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    if "OutOfMemory" in done.stderr or "RESOURCE_EXHAUSTED" in done.stderr:
        return {"error": "out of memory"}
    return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}


def row(job: dict[str, Any], found: dict[str, dict[str, Any]]) -> str:
    """Returns a row of the table: rates, shares of the peak, and the ratio."""
    work = operations(job["network"], job["task"], job["size"])
    cells = [f"{job['network']:<4} {job['task']:<5} {job['size']:>4} {job['batch']:>6}"]
    for name in CONTENDERS:
        rate = found[name].get("rate")
        peak = peak_of(found[name].get("device", ""))
        cells.append(f"{rate:>10.1f}" if rate else f"{'-':>10}")
        cells.append(f"{rate * work / peak:>6.1%}" if rate and peak else f"{'-':>6}")
    if all("rate" in result for result in found.values()):
        cells.append(f"{found['ours']['rate'] / found['timm']['rate']:>6.2f}")
    errors = [f"{name}: {r['error']}" for name, r in found.items() if "error" in r]
    return "  ".join([*cells, *errors])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="b0,b4")
    parser.add_argument("--train_batches", default="64,128,256")
    parser.add_argument("--infer_batches", default="64,256,1024")
    parser.add_argument("--size", type=int, default=0, help="pixels; 0: native size")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--compiler", default="inductor", help="backend of torch.compile"
    )
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(work(args.job)))
        return
    os.environ.setdefault("KERAS_BACKEND", "jax")  # TensorFlow may be missing
    from keras_efficientnet import VARIANTS
    from keras_efficientnet.architecture import find_variant

    print("                            ours   peak        timm   peak   ratio")
    for network in args.networks.split(","):
        size = args.size or VARIANTS[find_variant(network)].resolution
        for task in ("train", "infer"):
            for batch in getattr(args, f"{task}_batches").split(","):
                job = {"network": network, "task": task, "batch": int(batch)}
                job |= {"size": size, "seconds": args.seconds}
                job |= {"compiler": args.compiler}
                found = {
                    name: measure({**job, "contender": name}) for name in CONTENDERS
                }
                print(row(job, found), flush=True)


if __name__ == "__main__":
    main()
