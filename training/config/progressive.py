"""Progressive learning: image size and regularisation that grow by phase."""

from __future__ import annotations

import dataclasses

# Image sizes that the published networks were trained at, pixels, where these differ
# from the sizes of evaluation. Source: google/automl, effnetv2_configs.py.
TRAIN_SIZES = {
    "EfficientNetV2B0": 192,
    "EfficientNetV2B1": 192,
    "EfficientNetV2B2": 208,
    "EfficientNetV2B3": 240,
    "EfficientNetV2S": 300,
    "EfficientNetV2M": 384,
    "EfficientNetV2L": 384,
    "EfficientNetV2XL": 384,
}
# Config field that grows -> word for it in the description of a phase.
GROWING = {
    "randaugment_magnitude": "RandAugment",
    "mixup_alpha": "MixUp",
    "cutmix_alpha": "CutMix",
    "dropout": "dropout",
}


@dataclasses.dataclass(frozen=True)
class Growth:
    """Rule by which settings grow from phase to phase.

    Attributes:
        starts_above: Whether the first phase is already one step above the smallest
            image size.
        dropout: Whether dropout grows too.
        at_whole_epochs: Whether phases start at whole epochs, rounded down, if the run
            has an epoch for each phase.
    """

    starts_above: bool
    dropout: bool
    at_whole_epochs: bool


# Source: "automl", google/automl, efficientnetv2/main_tf2.py, whose code does not
# change dropout; "paper", arXiv:2104.00298, algorithm 1 and table 6.
SCHEDULES = {
    "automl": Growth(starts_above=True, dropout=False, at_whole_epochs=True),
    "paper": Growth(starts_above=False, dropout=True, at_whole_epochs=False),
}


def image_sizes(schedule: str, stages: int, start: int, end: int) -> tuple[int, ...]:
    """Returns the image size of each phase in pixels, rounded down.

    Args:
        schedule: Key of `SCHEDULES`.
        stages: Number of phases.
        start: Smallest size.
        end: Size of the last phase.

    Example:
        >>> image_sizes("automl", 4, 128, 300), image_sizes("paper", 4, 128, 300)
        ((171, 214, 257, 300), (128, 185, 242, 300))
    """
    if SCHEDULES[schedule].starts_above:
        return tuple(start + (end - start) * (k + 1) // stages for k in range(stages))
    # Integers, because 128 + 172 * (1 / 3) * 3 may be just under 300.
    steps = max(1, stages - 1)
    first = stages == 1  # a single phase has the final size
    return tuple(start + (end - start) * (k + first) // steps for k in range(stages))


def ramp(start: float, end: float, stages: int) -> tuple[float, ...]:
    """Returns equally spaced values from `start` to `end`; a single one is the end.

    Args:
        start: First value; at most `end`, else `end` is used throughout.
        end: Last value.
        stages: Number of values.

    Example:
        >>> [round(value, 2) for value in ramp(5, 10, 4)]
        [5.0, 6.67, 8.33, 10.0]
    """
    start = min(start, end)
    steps = max(1, stages - 1)
    inner = (start + (end - start) * k / steps for k in range(stages - 1))
    return (*inner, end)
