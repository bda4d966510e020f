"""Phases of a run: image size, regularisation and trained parts by step."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math

from ..config import TrainConfig, progressive
from ..config.progressive import GROWING
from ..methods import fixres


@dataclasses.dataclass(frozen=True)
class Phase:
    """Consecutive steps with the same settings.

    Attributes:
        first_step: First step of the phase, counted from 0.
        last_step: Step after the last one of the phase.
        image_size: Side of the training images in pixels.
        frozen: Last frozen part of the network, as for `keras_efficientnet.freeze`:
            0 (the stem) to 7, or "top". None: all parts are trained.
        strengths: Config fields that differ from phase to phase, with their values:
            magnitude, alphas and dropout of progressive learning.
        is_fixres: Whether this is the FixRes phase, which trains all BatchNorm layers
            and the head on evaluation crops.
    """

    first_step: int
    last_step: int
    image_size: int
    frozen: int | str | None
    strengths: dict[str, float] = dataclasses.field(default_factory=dict)
    is_fixres: bool = False

    def applied(self, config: TrainConfig) -> TrainConfig:
        """Returns the configuration of a run as it holds in this phase.

        Args:
            config: Configuration of the run.
        """
        changed = dataclasses.replace(config, **self.strengths)  # type: ignore[arg-type]
        return fixres.phase_config(changed) if self.is_fixres else changed

    def describe(self) -> str:
        """Describes the trained parts, the image size and the strengths."""
        if self.is_fixres:
            return f"FixRes: head and BatchNorm, {self.image_size} pixels"
        whole = {None: "all weights", "top": "the classifier", 0: "all but the stem"}
        if self.frozen in whole:
            trained = whole[self.frozen]
        elif self.frozen == 7:
            trained = "the head"
        else:
            trained = f"stages from {int(self.frozen or 0) + 1}"
        values = (f"{GROWING[name]} {v:.3g}" for name, v in self.strengths.items())
        return ", ".join([trained, f"{self.image_size} pixels", *values])


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
    total = fixres.first_step(config, images)
    head_end = min(total, int(config.head_only_epochs * config.steps_per_epoch(images)))
    starts = _first_steps(config, images, total)
    edges = sorted({*starts, head_end, total})
    growth = _strengths(config)
    found = []
    for first, last in itertools.pairwise(edges):
        part = bisect.bisect_right(starts, first) - 1
        phase = Phase(
            first_step=first,
            last_step=last,
            image_size=config.sizes[part],
            frozen="top" if first < head_end else _frozen(config),
            strengths={name: values[part] for name, values in growth.items()},
        )
        found.append(phase)
    end = config.total_steps(images)
    if total < end:
        found.append(Phase(total, end, config.resolution, frozen=7, is_fixres=True))
    return found


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
    epochs = config.epochs_over(images)
    whole = range(1, math.ceil(epochs))
    ends = {int(epoch * per_epoch): float(epoch) for epoch in whole}
    ends[total] = epochs
    return {step: epoch for step, epoch in ends.items() if 0 < step <= total}


def _first_steps(config: TrainConfig, images: int, total: int) -> list[int]:
    """Returns the first step of the images of each size, in order."""
    parts = len(config.sizes)
    growth = progressive.SCHEDULES.get(config.progressive_schedule or "")
    epochs = config.epochs_over(images) - config.fixres_epochs
    per_epoch = config.steps_per_epoch(images)
    if not (growth and growth.at_whole_epochs and epochs >= parts):
        return [total * i // parts for i in range(parts)]
    return [int(int(epochs * i / parts) * per_epoch) for i in range(parts)]


def _strengths(config: TrainConfig) -> dict[str, tuple[float, ...]]:
    """Returns the fields that grow, with the values of each for all image sizes."""
    if not config.progressive_schedule:
        return {}
    ends = {name: getattr(config, name) for name in progressive.GROWING}
    ends["dropout"] = config.architecture.dropout
    starts = {
        "randaugment_magnitude": config.progressive_start_magnitude,
        "dropout": config.progressive_start_dropout,
    }
    if config.augment != "randaugment":
        del ends["randaugment_magnitude"]
    if not progressive.SCHEDULES[config.progressive_schedule].dropout:
        del ends["dropout"]
    return {
        name: progressive.ramp(starts.get(name, 0.0), end, len(config.sizes))
        for name, end in ends.items()
        if end > 0  # what is off stays off
    }


def _frozen(config: TrainConfig) -> int | None:
    first = config.unfreeze_from_stage
    return None if first is None else first - 1
