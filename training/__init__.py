"""Training of image classifiers with TensorFlow: sources, loop, run folders.

Start with `config.TrainConfig`, `engine.trainer.train` and `evaluate.evaluate`.
"""

import keras_efficientnet as _keras_efficientnet  # noqa: F401  # before TensorFlow
