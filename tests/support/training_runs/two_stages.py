"""A network that Keras's `fit` traces in a third of the time of seven stages."""

import keras_efficientnet
from keras_efficientnet import Stage

# The second block of the last stage has a skip, for drop_connect.
STAGES = (Stage(1, 3, 2, 1, 16), Stage(2, 3, 2, 6, 24))


def two_stages(**options):
    """Returns a network for images of 32 pixels, with every kind of layer."""
    return keras_efficientnet.EfficientNet(
        0.25, 1.0, 32, stages=STAGES, head_filters=64, **options
    )
