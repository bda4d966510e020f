"""Random weights by name."""

import numpy as np


def random_arrays(model, seed=0):
    """Returns {"layer/variable": uniform random array, 0 to 1} for all weights."""
    rng = np.random.default_rng(seed)
    return {
        f"{layer.name}/{weight.name}": rng.random(weight.shape, np.float32)
        for layer in model.layers
        for weight in layer.weights
    }
