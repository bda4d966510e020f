"""Checkpoints written by TensorFlow."""

import tensorflow as tf


def write(prefix, values):
    """Saves a TensorFlow 1 checkpoint with TensorFlow's saver."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        saved = {name: tf1.Variable(value) for name, value in values.items()}
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(saved).save(session, str(prefix))
    return prefix
