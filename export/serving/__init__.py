"""Image decoding inside a SavedModel, by TensorFlow operations alone."""
