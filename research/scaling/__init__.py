"""The scaling study: width, depth and resolution, alone and together."""
