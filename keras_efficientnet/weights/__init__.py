"""Published weight files: which exist, how to get, read and assign them."""

from .load import load_weights as load_weights
from .load import network_options as network_options
from .load import published_options as published_options
from .registry.table import list_weights as list_weights
from .registry.table import weights_info as weights_info
from .registry.weight_file import WeightFile as WeightFile

__all__ = [
    "WeightFile",
    "list_weights",
    "load_weights",
    "network_options",
    "published_options",
    "weights_info",
]
