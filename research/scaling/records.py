"""Results of the scaling study: training runs and their means."""

from __future__ import annotations

import dataclasses
import statistics

from keras_efficientnet import Scaling

SINGLE = ("width", "depth", "resolution")  # lines that scale one dimension
COMPOUND = "compound"  # the line that scales all three


@dataclasses.dataclass(frozen=True)
class ScalingRow:
    """One training run.

    Attributes:
        width: Ratio to the base.
        depth: Ratio to the base.
        resolution: Ratio to the base.
        seed: Random seed of weights, data order and augmentation.
        image_size: Image size in pixels.
        multiply_adds: Multiply-adds for one image.
        trainable_params: Number of trainable parameters.
        top1: Top-1 on the final split, a ratio.
        validation_top1: Validation top-1 of the best epoch, a ratio.
        seconds: Training time in seconds.
    """

    width: float
    depth: float
    resolution: float
    seed: int
    image_size: int
    multiply_adds: int
    trainable_params: int
    top1: float
    validation_top1: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Point:
    """Results of a network with several seeds.

    Attributes:
        label: Label in figures and tables, such as "w=2".
        scaling: Ratios to the base.
        multiply_adds: Multiply-adds for one image.
        trainable_params: Number of trainable parameters.
        scores: Top-1 of each seed, ratios, in the order of the seeds.
    """

    label: str
    scaling: Scaling
    multiply_adds: int
    trainable_params: int
    scores: tuple[float, ...]

    @property
    def top1(self) -> float:
        """Mean top-1, a ratio."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds, a ratio; 0 with one seed."""
        return statistics.stdev(self.scores) if self.seeds > 1 else 0.0

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.scores)
