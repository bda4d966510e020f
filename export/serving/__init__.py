"""Image decoding inside a SavedModel, with TensorFlow operations only."""
