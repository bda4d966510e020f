"""Flags of the commands that open a classifier with `open_model` or export's `load`."""

from __future__ import annotations

from absl import flags

from ..models import WEIGHTS_HELP
from ..scoring.thresholds import THRESHOLDS_HELP

# The flags belong to the command that calls `define_model_flags`, in its help too.
flags.disclaim_key_flags()


def define_model_flags(values: flags.FlagValues) -> None:
    """Defines the flags for weights, labels, preprocessing and thresholds of a model.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """

    def string(name: str, text: str) -> None:
        flags.DEFINE_string(name, None, text, flag_values=values)

    string("weights", WEIGHTS_HELP)
    string("labels", "File of class names, one per line. Default: the model's.")
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the input, pixels. Default: the model's.",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_float(
        "crop_ratio",
        None,
        "Side of the central crop as a ratio to the shorter side. Default: the "
        "model's.",
        flag_values=values,
    )
    string("interpolation", "Resize method. Default: the model's.")
    string("crop_mode", "Shape of the crop: center or squash. Default: the model's.")
    string("thresholds", THRESHOLDS_HELP)
