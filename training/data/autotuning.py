"""tf.data's autotuning."""

from __future__ import annotations

import tensorflow as tf


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns tf.data's autotuning off; AUTOTUNE then means one call per core.

    The thread that tunes a pipeline sleeps for twice as long after every look at it, up
    to a minute, and in TensorFlow 2.21 the deletion of an iterator often waits until it
    wakes: each epoch and each evaluation would end with such a pause.

    Args:
        dataset: Data set.

    Returns:
        The same elements.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
