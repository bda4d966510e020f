"""Published weight files: which exist, how to get, read and assign them."""

from .load import load_weights as load_weights
from .load import network_options as network_options
from .load import published_options as published_options
from .record import WeightFile as WeightFile
from .table import list_weights as list_weights
from .table import weights_info as weights_info

__all__ = [
    "WeightFile",
    "list_weights",
    "load_weights",
    "network_options",
    "published_options",
    "weights_info",
]
