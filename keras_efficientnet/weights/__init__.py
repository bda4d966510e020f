"""Published weight files: which exist, how to get, read and assign them."""
def load_weights(model, weights, variant=None):
    raise NotImplementedError
