"""Phases of a run: image size and trained parts by step."""

from __future__ import annotations

import dataclasses
import itertools
import math

from ..config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive steps with the same image size and the same trained weights.

    Attributes:
        first_step: First step of the phase, counted from 0.
        last_step: Step after the last one of the phase.
        image_size: Side of the training images in pixels.
        frozen: Last frozen part of the network, as for `keras_efficientnet.freeze`:
            0 (the stem) to 7, or "top". None: all parts are trained.
    """

    first_step: int
    last_step: int
    image_size: int
    frozen: int | str | None

    def describe(self) -> str:
        """Describes the trained parts and the image size."""
        whole = {None: "all weights", "top": "the classifier", 0: "all but the stem"}
        if self.frozen in whole:
            trained = whole[self.frozen]
        elif self.frozen == 7:
            trained = "the head"
        else:
            trained = f"stages from {int(self.frozen or 0) + 1}"
        return f"{trained}, {self.image_size} pixels"


def plan_phases(config: TrainConfig, images: int) -> list[Phase]:
    """Lists the phases of a run in order, without gaps.

    Args:
        config: Configuration of the run.
        images: Number of training images.

    Example:
        >>> config = TrainConfig(batch_size=10, epochs=4, progressive_sizes="128,224")
        >>> phases = plan_phases(config, 100)
        >>> [(p.first_step, p.last_step, p.image_size) for p in phases]
        [(0, 20, 128), (20, 40, 224)]
    """
    total = config.total_steps(images)
    head_end = min(total, int(config.head_only_epochs * config.steps_per_epoch(images)))
    sizes = {total * i // len(config.sizes): s for i, s in enumerate(config.sizes)}
    edges = sorted({*sizes, head_end, total})
    return [
        Phase(
            first_step=first,
            last_step=last,
            image_size=sizes[max(begin for begin in sizes if begin <= first)],
            frozen="top" if first < head_end else _frozen(config),
        )
        for first, last in itertools.pairwise(edges)
    ]


def epoch_ends(config: TrainConfig, images: int) -> dict[int, float]:
    """Returns the last step of each epoch with the epoch's number, from 1.

    Args:
        config: Configuration of the run.
        images: Number of training images.

    Returns:
        Step -> epoch, in ascending order. A fractional last epoch keeps its fraction;
        epochs shorter than a step are left out.
    """
    total, per_epoch = config.total_steps(images), config.steps_per_epoch(images)
    whole = range(1, math.ceil(config.epochs))
    ends = {int(epoch * per_epoch): float(epoch) for epoch in whole}
    ends[total] = config.epochs
    return {step: epoch for step, epoch in ends.items() if 0 < step <= total}


def _frozen(config: TrainConfig) -> int | None:
    first = config.unfreeze_from_stage
    return None if first is None else first - 1
