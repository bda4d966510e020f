"""Optimizer steps on single weights, on any backend of Keras."""

import keras
from keras import ops

RATES = (0.1, 0.05, 0.2, 0.2, 0.01)


class StepRates(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rates that change at each step."""

    def __call__(self, step):
        return ops.take(ops.convert_to_tensor(RATES, "float32"), step)


def take_steps(optimizer, starts, gradients):
    """Returns the weights after each step, one list per step."""
    weights = [keras.Variable(start) for start in starts]
    found = []
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(g) for g in step], weights)
        found.append([ops.convert_to_numpy(w).copy() for w in weights])
    return found
