"""A training run of a few seconds, and the processes that share it.

`python -m tests.support.training_runs.tiny_run KIND WORKDIR` starts one process.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

from keras_efficientnet import EvalPreprocessing
from keras_efficientnet.stages import Stage, format_stages
from tests.support.paths import ROOT
from training.config import TrainConfig
from training.data import sources

# Few layers, which are quick to trace; the last one has a skip, for drop_connect.
STAGES = (Stage(1, 3, 2, 1, 8), Stage(2, 3, 2, 4, 16))
# 20 images at 8 a step: epochs end at steps 2, 5 and 6, and batches span epochs.
TINY = TrainConfig(
    model="EfficientNet",
    width=0.25,
    stages=format_stages(STAGES),
    lite=True,  # quicker to trace
    image_size=32,
    crop_ratio=1.0,
    interpolation="bilinear",
    batch_size=8,
    epochs=2.4,
    lr_per_256=0.1,
    warmup_epochs=1,
    dropout=0.2,
    drop_connect=0.4,
    export_samples=4,
)
# Equal on any number of replicas, up to rounding. 480 images, 30 steps.
SHARED = dataclasses.replace(
    TINY,
    strategy="one_device",
    stages=None,
    depth=0.3,
    lite=False,  # smooth activations: the kinks of ReLU6 amplify rounding errors
    epochs=1,
    batch_size=16,
    optimizer="sgd",
    lr_per_256=0.01,
    dropout=0.0,
    drop_connect=0.0,
    sync_batch_norm=True,
    checkpoint_every_steps=1,
    keep_checkpoints=100,
)
STEPS = 20
UNEVEN = 1003  # number of images; not divisible by any batch size used here


def tiny_source(test=True, train=20):
    rng = np.random.default_rng(0)
    splits = {"train": train, "validation": 11, **({"test": 9} if test else {})}
    parts = {
        name: (
            rng.integers(0, 256, (count, 40, 36, 3)).astype(np.uint8),
            np.arange(count) % 3,
        )
        for name, count in splits.items()
    }
    return sources.arrays(parts, ["apple", "pear", "plum"])


def shared_source():
    return tiny_source(train=480)


def read_checkpoint(workdir, step=None):
    """Returns the arrays of a checkpoint by name; without `step`, of the latest."""
    folder = pathlib.Path(workdir) / "checkpoints"
    path = (
        max(folder.glob("*.npz")) if step is None else folder / f"step-{step:09d}.npz"
    )
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays if name != "seconds"}


def losses(workdir):
    """Returns the mean loss of each step of a run that saved every step."""
    sums = [read_checkpoint(workdir, step)["sums"] for step in range(1, STEPS + 1)]
    steps = np.diff(np.array([np.zeros(3), *sums]), axis=0)
    return steps[:, 0] / steps[:, 2]


def uneven_images():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (UNEVEN, 32, 32, 3)).astype(np.uint8)


def uneven_source():
    """Returns images whose label is their brightest channel, except every fourth."""
    images = uneven_images()
    brightest = images.astype(float).mean(axis=(1, 2)).argmax(axis=1)
    labels = (brightest + (np.arange(UNEVEN) % 4 == 0)) % 3
    part = (images, labels)
    return sources.arrays({"train": part, "validation": part}, ["r", "g", "b"])


def count_uneven(used_strategy, batch_size=64):
    """Evaluates networks that predict the brightest channel, and all bright ones."""
    import keras

    from training.metrics.evaluator import Evaluator

    with used_strategy.scope():
        inputs = keras.Input((32, 32, 3))
        net = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    evaluator = Evaluator(net, used_strategy=used_strategy, from_logits=True)
    split = uneven_source().split("validation")
    spec = EvalPreprocessing(32, 1.0, "bilinear")
    scores = evaluator(split, spec, batch_size)
    parts = zip(*evaluator.outputs(split, spec, batch_size), strict=True)
    outputs, labels = map(np.concatenate, parts)
    found = {
        "images": scores.images,
        "top1": scores.top1,
        "outputs": len(outputs),
        "outputs_top1": float((outputs.argmax(axis=1) == labels).mean()),
    }
    found["alone_top1"] = found["outputs_top1"]
    resolver = used_strategy.cluster_resolver
    if resolver is None or not resolver.task_id:  # the other workers need not take part
        alone = np.concatenate([*evaluator.outputs_alone(split, spec, batch_size)])
        right = alone.argmax(axis=1) == split.labels
        found["alone_top1"] = float(right.mean())
    with used_strategy.scope():
        means = keras.layers.GlobalAveragePooling2D()(inputs)
        logits = keras.layers.Rescaling(0.5, -63.75)(means)
        net = keras.Model(inputs, logits)
    evaluator = Evaluator(
        net, used_strategy=used_strategy, from_logits=True, multi_label=True
    )
    split = dataclasses.replace(split, label_sets=uneven_label_sets())
    return found | {"map": evaluator(split, spec, batch_size).map}


def uneven_label_sets():
    """Returns labels of the uneven images: channels above the middle, with errors."""
    means = uneven_means()
    is_wrong = np.arange(UNEVEN)[:, np.newaxis] % 4 == np.arange(3)
    return ((means > 127.5) != is_wrong).astype(np.uint8)


def uneven_means():
    """Returns the mean of each channel of the uneven images, (images, 3)."""
    return uneven_images().mean(axis=(1, 2), dtype=np.float64)


def start(
    kind, workdir, *, index=0, ports=(), seconds=0.0, launcher="TF_CONFIG", **fields
):
    """Starts a process of a run.

    Args:
        kind: "count" (`count_uneven` only), "train" (20 steps of `SHARED`, then
            `count_uneven`), "whole" (all
            steps), "slow" (pauses after each step), "slow_files" (all steps, with a
            pause before each rename by the first worker), or "meet" (only the quick
            parts).
        workdir: Run folder.
        index: Index of this worker.
        ports: Ports of all workers. Empty: two replicas in one process.
        seconds: Length of each pause.
        launcher: "TF_CONFIG", or "SLURM" for the variables of srun; the ports must
            then be consecutive.
        **fields: Changes to the configuration.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", "PAUSE": str(seconds)}
    environment["FIELDS"] = json.dumps(fields)
    environment.pop("TF_CONFIG", None)
    if ports and launcher == "SLURM":
        environment |= _slurm_variables(index, ports)
    elif ports:
        hosts = [f"127.0.0.1:{port}" for port in ports]
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": hosts}, "task": task}
        environment["TF_CONFIG"] = json.dumps(config)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.training_runs.tiny_run",
            kind,
            str(workdir),
        ],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _slurm_variables(index, ports):
    return {
        "EFFICIENTNET_PORT": str(ports[0]),
        "SLURM_STEP_NUM_TASKS": str(len(ports)),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": str(len(ports)),
        "SLURM_PROCID": str(index),
        "SLURM_NODEID": "0",
        "SLURM_LOCALID": str(index),
    }


def free_pair():
    """Returns two free ports in a row."""
    while True:
        (port,) = free_ports(1)
        with contextlib.suppress(OSError, OverflowError):
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port, port + 1


def free_ports(count):
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def main():
    kind, workdir = sys.argv[1:]
    if "TF_CONFIG" in os.environ:
        config = dataclasses.replace(SHARED, strategy="multi_worker")
    elif "SLURM_STEP_NUM_TASKS" in os.environ:
        config = dataclasses.replace(SHARED, strategy="auto")
    else:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        pair = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, pair)
        config = dataclasses.replace(SHARED, strategy="mirrored")
    config = dataclasses.replace(config, **json.loads(os.environ["FIELDS"]))
    print(json.dumps(ACTIONS[kind](config, workdir)), flush=True)


def _train(config, workdir):
    from training.engine import distribution, trainer

    used_strategy = distribution.make_strategy(config.strategy)  # before the source
    trainer.train(config, workdir, shared_source(), stop_at_step=STEPS, show=False)
    return count_uneven(used_strategy)


def step_by_hand(used_strategy, **fields):
    """Trains a network without synchronised BatchNorm for one step.

    The same 8 images are divided among all replicas.

    Args:
        used_strategy: Strategy of the step.
        **fields: Fields of the configuration.

    Returns:
        Variables of the network after the step, then their averages.
    """
    import keras
    import tensorflow as tf

    from training.engine import train_state
    from training.engine import train_step as step
    from training.optim import optimizers

    keras.utils.set_random_seed(0)
    with used_strategy.scope():
        inputs = keras.Input((4, 4, 3))
        x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
        x = keras.layers.BatchNormalization(name="bn")(x)
        x = keras.layers.Dense(3, name="dense")(keras.layers.Flatten()(x))
        net = keras.Model(inputs, x)
        parts = train_state.TrainState(net, optimizers.SGD(0.1), 0.9)
    config = TrainConfig(batch_size=8, **fields)
    train_step = step.make_train_step(parts, used_strategy, config)
    images = np.random.default_rng(2).normal(size=(8, 4, 4, 3)).astype(np.float32)

    def share(context):
        part = 8 // context.num_input_pipelines
        begin = context.input_pipeline_id * part
        labels, mask = np.arange(8) % 3, np.ones(8, np.float32)
        columns = (images, labels.astype(np.int32), mask)
        ours = tuple(column[begin : begin + part] for column in columns)
        batch = 8 // used_strategy.num_replicas_in_sync
        return tf.data.Dataset.from_tensor_slices(ours).batch(batch)

    batches = used_strategy.distribute_datasets_from_function(share)
    train_step(*next(iter(batches)))
    with parts.ema_weights():
        average = net.get_weights()
    return [array.tolist() for array in [*net.get_weights(), *average]]


def _meet(config, workdir):
    from tensorflow.python.eager import context as eager_context

    from training.engine import distribution
    from training.engine.cluster.workers import Workers

    del workdir
    timeouts = distribution.Timeouts(heartbeat_s=config.heartbeat_timeout)
    used_strategy = distribution.make_strategy(config.strategy, timeouts)
    workers = Workers(used_strategy)
    service = eager_context.context().coordination_service
    return {
        **count_uneven(used_strategy),
        "gathered": workers.gather(workers.index, 2**31 - 1 - workers.index).tolist(),
        "heartbeat_timeout_ms": service.heartbeat_timeout_in_ms,
        "workers": distribution.describe_workers(used_strategy),
        "texts": workers.gather_text("é" * workers.index),
        "step": step_by_hand(used_strategy),
        "grouped_step": step_by_hand(used_strategy, bn_group_size=2),
    }


def _count(config, workdir):
    from training.engine import distribution

    del workdir
    return count_uneven(distribution.make_strategy(config.strategy))


def _whole(config, workdir):
    from training.engine import distribution, trainer

    distribution.make_strategy(config.strategy)
    return trainer.train(config, workdir, shared_source(), show=False)


def _slow_files(config, workdir):
    """Trains to the end, with a pause before each rename by the first worker."""
    import time

    from training.engine import distribution

    distribution.make_strategy(config.strategy)
    if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0:
        replace = os.replace

        def slow_replace(*args, **options):
            time.sleep(float(os.environ["PAUSE"]))
            replace(*args, **options)

        os.replace = slow_replace
    return _whole(config, workdir)


def _slow(config, workdir):
    """Trains with pauses and prints each step; exits like the command."""
    import time

    from absl import flags

    from training import main
    from training.engine.cluster import agreement, rendezvous
    from training.reporting import progress

    step = progress.ProgressBar.step

    def slow_step(self):
        step(self)
        print("step", flush=True)
        time.sleep(float(os.environ["PAUSE"]))

    progress.ProgressBar.step = slow_step
    sources.load = lambda *args, **options: shared_source()
    agreement.SHARED_WITHIN_S = rendezvous.REPORT_EVERY_S = 1.0
    sys.argv = ["main", f"--workdir={workdir}"]
    flags.FLAGS(main.define_flags(flags.FLAGS, sys.argv))
    config.data = "tiny"
    flags.FLAGS.config = config
    main._main(sys.argv[:1])


ACTIONS = {
    "count": _count,
    "train": _train,
    "meet": _meet,
    "whole": _whole,
    "slow": _slow,
    "slow_files": _slow_files,
}

if __name__ == "__main__":
    main()
