"""Class activation maps."""

from .activation_maps import METHODS, class_maps, flatten, heatmaps, with_features

__all__ = ["METHODS", "class_maps", "flatten", "heatmaps", "with_features"]
