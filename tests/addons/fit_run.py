"""Trains with components of TensorFlow Addons and prints a report as JSON.

python tests/addons/fit_run.py FOLDER

With TF_CONFIG, the process is one of several workers; otherwise it trains on two
replicas.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

# So many steps that rounding, which differs between processors and numbers of threads,
# does not decide whether the scores rise.
IMAGES, EPOCHS = 128, 2
CLASSES, BATCH, DECAY = 4, 8, 0.5


def data(strategy):
    """Returns this worker's share of the images, coloured by class, in batches."""
    generator = np.random.RandomState(1)
    labels = np.arange(IMAGES) % CLASSES
    noise = generator.uniform(0, 60, (IMAGES, 32, 32, 3))
    images = noise + 45 * labels[:, None, None, None]
    part = np.arange(IMAGES)
    if "TF_CONFIG" in os.environ:
        resolver = strategy.cluster_resolver
        part = part.reshape(-1, 2, BATCH // 2)[:, resolver.task_id].ravel()
    pairs = (
        images[part].astype(np.float32),
        np.eye(CLASSES, dtype=np.float32)[labels[part]],
    )
    dataset = tf.data.Dataset.from_tensor_slices(pairs).batch(
        BATCH, drop_remainder=True
    )
    options = tf.data.Options()
    off = tf.data.experimental.AutoShardPolicy.OFF  # each worker has its own share
    options.experimental_distribute.auto_shard_policy = off
    return dataset.with_options(options)


def make_strategy():
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    pair = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, pair)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def compiled(tfa):
    import keras

    import keras_efficientnet

    keras.utils.set_random_seed(7)
    model = keras_efficientnet.EfficientNet(
        0.25,
        0.1,
        32,
        classes=CLASSES,
        classifier_activation="sigmoid",
        dropout=0.0,  # would draw different numbers on replicas than on workers
        drop_connect=0.0,
    )
    optimizer = tfa.optimizers.MovingAverage(
        tfa.optimizers.LAMB(0.01), average_decay=DECAY, dynamic_decay=False
    )
    _ = optimizer.iterations  # created here: a replica's step cannot create it
    model.compile(
        optimizer,
        tfa.losses.SigmoidFocalCrossEntropy(reduction="sum_over_batch_size"),
        [tfa.metrics.F1Score(CLASSES, average="macro")],
    )
    return model


def main(folder):
    strategy = make_strategy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the end of its support
        from keras_efficientnet.addons import tfa
    with strategy.scope():
        model = compiled(tfa)
    saver = tfa.callbacks.AverageModelCheckpoint(
        False, str(folder / "average-{epoch}.keras"), save_weights_only=False
    )
    history = model.fit(
        data(strategy), epochs=EPOCHS, callbacks=[saver], verbose=0
    ).history
    wrapper = model.optimizer
    averages = [wrapper.get_slot(w, "average").numpy() for w in model.trainable_weights]
    report = {name: [float(v) for v in values] for name, values in history.items()}
    np.savez(folder / "live.npz", *[w.numpy() for w in model.trainable_weights])
    np.savez(folder / "averages.npz", *averages)
    print(json.dumps({"replicas": strategy.num_replicas_in_sync, **report}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
