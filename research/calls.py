"""Python code that builds the networks that a study found."""

from __future__ import annotations

import pathlib

from keras_efficientnet import STAGES, format_stages
from keras_efficientnet.architecture import Variant
from keras_efficientnet.common.files import write_text

from . import trainer

STAGES_FILE = "stages.json"


def describe_call(variant: Variant, classes: int, stages: str = STAGES_FILE) -> str:
    """Returns the call of `keras_efficientnet.EfficientNet` that builds a network.

    Args:
        variant: Network to build.
        classes: Number of classes of its classifier.
        stages: File with its stage table, used if the table is not B0's.
    """
    parts = [
        f"width={variant.width:.6g}",
        f"depth={variant.depth:.6g}",
        f"resolution={variant.resolution}",
        f"classes={classes}",
    ]
    if variant.lite:
        parts.append("lite=True")
    fresh = Variant(1.0, 1.0, variant.resolution, variant.dropout)
    if variant.stages != STAGES:
        parts.append(f'stages=read_stages("{stages}")')
    for name, field in (("stem_filters", "base_stem"), ("head_filters", "base_head")):
        if getattr(variant, field) != getattr(fresh, field):
            parts.append(f"{name}={getattr(variant, field)}")
    return f"EfficientNet({', '.join(parts)})"


def write_stages(
    config: trainer.config.TrainConfig, folder: pathlib.Path
) -> dict[str, str]:
    """Writes the base's stage table unless it is B0's.

    Args:
        config: Training configuration of the base.
        folder: Folder to write into.

    Returns:
        File name -> description, as for `write_page`.
    """
    if config.stage_table == STAGES:
        return {}
    write_text(folder / STAGES_FILE, format_stages(config.stage_table))
    return {STAGES_FILE: "stage table of the base, for `read_stages`"}
