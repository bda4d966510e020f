"""Training loop: devices, steps, state, checkpoints and phases."""
