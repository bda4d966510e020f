"""Training of image classifiers with TensorFlow: sources, loop, run folders.

Start with `config.TrainConfig`, `loop.train` and `evaluate.evaluate`.
"""
