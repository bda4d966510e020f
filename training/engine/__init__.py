"""The training loop: devices, steps, state, checkpoints and phases."""
