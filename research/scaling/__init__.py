"""Scaling study: width, depth and resolution, alone and combined."""
