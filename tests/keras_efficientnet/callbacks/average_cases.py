"""Small models, their training, and its exponential moving averages by hand."""

import keras
import numpy as np
from keras import ops

DECAY = 0.4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = RNG.normal(size=(12, 2)).astype(np.float32)


class Recorder(keras.callbacks.Callback):
    """Weights after each step and those that callbacks see at the end of epochs."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], []

    def on_train_begin(self, logs=None):
        self.steps.append(live_weights(self.model))

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(live_weights(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(weights(self.model))


class InterruptionError(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    """Ends `fit` as a crash in the middle of an epoch would."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now:
            raise InterruptionError


def weights(model):
    return [np.array(w) for w in model.get_weights()]


def live_weights(model):
    return [ops.convert_to_numpy(w).copy() for w in model.weights]


def make_model(batch_norm=True, optimizer=None):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((3,))
    x = keras.layers.Dense(4)(x)
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def fit(model, *callbacks, epochs=3, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **options)


def averages(steps, decay=DECAY):
    """Averages after each step, from the weights before the first and after each."""
    found = [[w.astype(np.float64) for w in steps[0]]]
    for t, live in enumerate(steps[1:], start=1):
        rate = min(decay, (1 + t) / (10 + t))
        pairs = zip(found[-1], live, strict=True)
        found.append([rate * a + (1 - rate) * w for a, w in pairs])
    return found


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
