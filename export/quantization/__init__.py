"""Post-training quantisation of TFLite networks."""
