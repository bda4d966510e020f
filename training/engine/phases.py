"""The parts of a run that differ in image size or in what is trained."""

from __future__ import annotations

import dataclasses
import itertools
import math

from ..config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps in a row that share an image size and the weights they train.

    Attributes:
        first_step: Where it begins.
        last_step: Where it ends; it is not part of it.
        image_size: Side of the training images, pixels.
        frozen: The last part of the network that is not trained, as for
            `keras_efficientnet.freeze`: 0 (the stem) to 7, or "top"; None: all
            parts are trained.
    """

    first_step: int
    last_step: int
    image_size: int
    frozen: int | str | None

    def describe(self) -> str:
        """Returns what is trained, and on which image size, in words."""
        whole = {None: "all weights", "top": "the classifier", 0: "all but the stem"}
        if self.frozen in whole:
            trained = whole[self.frozen]
        elif self.frozen == 7:
            trained = "the head"
        else:
            trained = f"stages from {int(self.frozen or 0) + 1}"
        return f"{trained}, {self.image_size} pixels"


def plan_phases(config: TrainConfig, images: int) -> list[Phase]:
    """Lists the phases of a run, which follow each other without a gap.

    Args:
        config: The run.
        images: Of the training split.

    Example:
        >>> config = TrainConfig(batch_size=10, epochs=4, progressive_sizes="128,224")
        >>> [(p.first_step, p.last_step, p.image_size) for p in plan(config, 100)]
        [(0, 20, 128), (20, 40, 224)]
    """
    total = config.total_steps(images)
    head_end = min(total, int(config.head_only_epochs * config.steps_per_epoch(images)))
    # The share of each size begins where that of the one before ends.
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
    """Returns the last step of each epoch, and the epoch's number from 1.

    Args:
        config: The run.
        images: Of the training split.

    Returns:
        Step -> epoch, in rising order. A fractional last epoch keeps its fraction;
        an epoch shorter than a step is left out.
    """
    total, per_epoch = config.total_steps(images), config.steps_per_epoch(images)
    whole = range(1, math.ceil(config.epochs))
    ends = {int(epoch * per_epoch): float(epoch) for epoch in whole}
    ends[total] = config.epochs
    return {step: epoch for step, epoch in ends.items() if 0 < step <= total}


def _frozen(config: TrainConfig) -> int | None:
    first = config.unfreeze_from_stage
    return None if first is None else first - 1
