"""Training of image classifiers with TensorFlow: sources, loop, run folders.

Start with `config.TrainConfig`, `engine.trainer.train` and `evaluate.evaluate`.
"""

# Imports keras_efficientnet before TensorFlow, whose start-up lines that hides.
from keras_efficientnet.common.cli.missing_packages import explain_missing_packages

explain_missing_packages()
