"""Training data: sources of labelled images, and the pipeline that batches them."""
