"""Training methods beyond supervised training of all weights: distillation, FixRes."""
