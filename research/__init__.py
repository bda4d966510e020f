"""The studies of the EfficientNet paper as commands: `python -m research.main`."""

from keras_efficientnet.common.cli.missing_packages import explain_missing_packages

explain_missing_packages()
