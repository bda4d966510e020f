"""A training step that traces in a second, for several test files."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from training.config import TrainConfig
from training.engine import advprop, distribution, train_step
from training.engine.train_state import TrainState
from training.optim import optimizers

CONFIG = TrainConfig(
    model="EfficientNet", image_size=32, batch_size=8, weight_decay=0.0, ema_decay=0.99
)


def net(batch_norm=True, dropout=0.3, synchronized=False):
    """Returns a network of two convolutions, named like blocks, and a classifier."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((4, 4, 3))
    for stage in (1, 2):
        x = keras.layers.Conv2D(4, 2, name=f"block{stage}a_project_conv")(x)
        if batch_norm:
            x = keras.layers.BatchNormalization(
                name=f"block{stage}a_project_bn", synchronized=synchronized
            )(x)
        x = keras.layers.Activation("swish", name=f"block{stage}a_activation")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"block{stage}a_drop")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))


def make(model=None, optim=None, used_strategy=None, **fields):
    """Returns a training state and its step; by default with plain SGD."""
    config = dataclasses.replace(CONFIG, **fields)
    used_strategy = used_strategy or distribution.make_strategy("one_device")
    with used_strategy.scope():
        model = model or net()
        has_attacker = config.adversarial_epsilon
        auxiliary = advprop.auxiliary_batch_norms(model) if has_attacker else {}
        optim = optim or plain(config.clip_norm, config.weight_decay)
        state = TrainState(model, optim, config.ema_decay, auxiliary)
    return state, train_step.make_train_step(state, used_strategy, config)


def plain(clip_norm=None, weight_decay=0.0):
    return optimizers.SGD(0.1, l2=weight_decay, global_clipnorm=clip_norm)


def batch(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    images = scale * rng.normal(size=(8, 4, 4, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 8).astype(np.int32)
    return tf.constant(images), tf.constant(labels), tf.ones(8)


def weights_after(steps, model=None, **options):
    """Returns all variables of the network, including seeds, after some steps."""
    state, take = make(model, **options)
    for seed in range(steps):
        take(*batch(seed))
    return [v.numpy() for v in state.model.variables]


def largest_difference(first, second):
    pairs = zip(first, second, strict=True)
    return max(np.abs(np.subtract(a, b, dtype=np.float64)).max() for a, b in pairs)
