"""Weight files: listing, downloading, reading and assigning them."""

from .load import load_published as load_published
from .load import load_weights as load_weights
from .load import network_options as network_options
from .load import published as published
from .load import published_options as published_options
from .registry.table import default_family as default_family
from .registry.table import list_weights as list_weights
from .registry.table import weights_info as weights_info
from .registry.weight_file import WeightFile as WeightFile

__all__ = [
    "WeightFile",
    "default_family",
    "list_weights",
    "load_published",
    "load_weights",
    "network_options",
    "published",
    "published_options",
    "weights_info",
]
