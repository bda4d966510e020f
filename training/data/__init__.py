"""Training data: sources of labelled images and the input pipeline."""
