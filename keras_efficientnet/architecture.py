"""The family as tables, and the plan of blocks that follows from a row.

Nothing here needs Keras: costs and budgets are computed from the same plan
that the builder walks.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import string
from collections.abc import Iterable
from typing import Any

from .scaling import round_filters, round_repeats


@dataclasses.dataclass(frozen=True)
class Stage:
    """One row of Table 1, arXiv:1905.11946."""

    repeats: int
    kernel: int  # pixels, square
    stride: int  # of the first block; the others use 1
    expand: int  # expanded channels / input channels
    filters: int  # output channels before width scaling


@dataclasses.dataclass(frozen=True)
class Variant:
    """One member of the family; `width`, `depth`, `dropout` are ratios."""

    width: float
    depth: float
    resolution: int  # pixels, square
    dropout: float
    lite: bool = False  # ReLU6, no squeeze-excite, stem and head unscaled

    @property
    def stem_filters(self) -> int:
        """Output channels of the stem."""
        return round_filters(STEM_FILTERS, 1.0 if self.lite else self.width)

    @property
    def head_filters(self) -> int:
        """Output channels of the 1x1 convolution before the pooling."""
        return round_filters(HEAD_FILTERS, 1.0 if self.lite else self.width)

    @property
    def normalization(self) -> str:
        """Name of the input normalisation that published weights expect."""
        return "lite" if self.lite else "imagenet"


@dataclasses.dataclass(frozen=True)
class Block:
    """One MBConv block, all of its numbers resolved."""

    name: str  # "block2a": stage 2, first block
    stage: int  # 1 to 7
    kernel: int  # pixels, square
    stride: int
    expand: int  # expanded channels / input channels
    filters_in: int
    filters_out: int
    se_filters: int  # channels inside squeeze-excite; 0: none
    drop_rate: float  # probability that the block is skipped in training

    @property
    def expanded(self) -> int:
        """Channels of the depthwise convolution."""
        return self.filters_in * self.expand

    @property
    def has_skip(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.filters_in == self.filters_out


STEM_FILTERS = 32
HEAD_FILTERS = 1280
SE_RATIO = 0.25  # of the channels that enter the block, before expansion
MIN_IMAGE_SIZE = 32  # pixels: the network halves its input five times

# Source: arXiv:1905.11946, Table 1, stages 2 to 8.
STAGES = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, filters=16),
    Stage(repeats=2, kernel=3, stride=2, expand=6, filters=24),
    Stage(repeats=2, kernel=5, stride=2, expand=6, filters=40),
    Stage(repeats=3, kernel=3, stride=2, expand=6, filters=80),
    Stage(repeats=3, kernel=5, stride=1, expand=6, filters=112),
    Stage(repeats=4, kernel=5, stride=2, expand=6, filters=192),
    Stage(repeats=1, kernel=3, stride=1, expand=6, filters=320),
)

# Source: tensorflow/tpu, efficientnet_builder.py and lite/efficientnet_lite_builder.py.
# Rounded by hand there: B1 is not 1.1 ** 0.5 wide.
VARIANTS = {
    "EfficientNetB0": Variant(1.0, 1.0, 224, 0.2),
    "EfficientNetB1": Variant(1.0, 1.1, 240, 0.2),
    "EfficientNetB2": Variant(1.1, 1.2, 260, 0.3),
    "EfficientNetB3": Variant(1.2, 1.4, 300, 0.3),
    "EfficientNetB4": Variant(1.4, 1.8, 380, 0.4),
    "EfficientNetB5": Variant(1.6, 2.2, 456, 0.4),
    "EfficientNetB6": Variant(1.8, 2.6, 528, 0.5),
    "EfficientNetB7": Variant(2.0, 3.1, 600, 0.5),
    "EfficientNetB8": Variant(2.2, 3.6, 672, 0.5),
    "EfficientNetL2": Variant(4.3, 5.3, 800, 0.5),
    "EfficientNetLite0": Variant(1.0, 1.0, 224, 0.2, lite=True),
    "EfficientNetLite1": Variant(1.0, 1.1, 240, 0.2, lite=True),
    "EfficientNetLite2": Variant(1.1, 1.2, 260, 0.3, lite=True),
    "EfficientNetLite3": Variant(1.2, 1.4, 280, 0.3, lite=True),
    "EfficientNetLite4": Variant(1.4, 1.8, 300, 0.3, lite=True),
}


def block_plan(variant: Variant, drop_connect: float = 0.2) -> tuple[Block, ...]:
    """Lists every block of a network, input to output.

    Args:
        variant: Row of `VARIANTS`, or any other scaling of the same stages.
        drop_connect: Rate that the drop rates rise to, linearly with the block's
            place; the first block has 0, the last just under this.

    Raises:
        ValueError: `drop_connect` is not in [0, 1), or a stage has so many blocks
            that the letters of their names run out.

    Source:
        tensorflow/tpu, efficientnet_model.py; arXiv:1603.09382 (stochastic depth).
    """
    if not 0 <= drop_connect < 1:
        raise ValueError(
            "`drop_connect` must be at least 0 and under 1. "
            f"Received: drop_connect={drop_connect}"
        )
    repeats = [_stage_repeats(variant, i) for i in range(len(STAGES))]
    blocks: list[Block] = []
    filters_in = variant.stem_filters
    for i, stage in enumerate(STAGES):
        filters_out = round_filters(stage.filters, variant.width)
        for j in range(repeats[i]):
            block = Block(
                name=f"block{i + 1}{string.ascii_lowercase[j]}",
                stage=i + 1,
                kernel=stage.kernel,
                stride=stage.stride if j == 0 else 1,
                expand=stage.expand,
                filters_in=filters_in,
                filters_out=filters_out,
                se_filters=0 if variant.lite else max(1, int(filters_in * SE_RATIO)),
                drop_rate=drop_connect * len(blocks) / sum(repeats),
            )
            blocks.append(block)
            filters_in = filters_out
    return tuple(blocks)


def reduction_blocks(plan: tuple[Block, ...]) -> dict[int, str]:
    """Maps reduction levels 1 to 5 to the last block at that resolution.

    Level `i` has one feature per `2**i` input pixels along each side.

    Args:
        plan: Result of `block_plan`.

    Source:
        tensorflow/tpu, efficientnet_model.py (endpoints `reduction_1` ...).
    """
    last = [a.name for a, b in itertools.pairwise(plan) if b.stride == 2]
    return dict(enumerate([*last, plan[-1].name], start=1))


def find_variant(name: str) -> str:
    """Returns the factory name that a user's spelling of a variant means.

    Args:
        name: "EfficientNetB0", "efficientnet-b0", "b0", "lite4" and the like.

    Raises:
        ValueError: No variant is called that; the message names the nearest.

    Example:
        >>> find_variant("efficientnet-lite0")
        'EfficientNetLite0'
    """
    short = {key.removeprefix("EfficientNet").lower(): key for key in VARIANTS}
    wanted = name.lower().replace("-", "").replace("_", "").removeprefix("efficientnet")
    if wanted in short:
        return short[wanted]
    raise ValueError(
        f"`name` must be one of {', '.join(VARIANTS)}."
        f"{did_you_mean(name, VARIANTS)} Received: name={name!r}"
    )


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `choices`, or nothing."""
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Checks that an argument is one of a few values.

    Args:
        name: Of the argument.
        value: Received.
        choices: What it may be.

    Raises:
        ValueError: It is another; the message names the nearest.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        near = did_you_mean(value, [c for c in choices if isinstance(c, str)])
        raise ValueError(
            f"`{name}` must be one of {listed}.{near} Received: {name}={value!r}"
        )


def _stage_repeats(variant: Variant, index: int) -> int:
    # The Lite nets leave the first and last stage at their base depth.
    fixed = variant.lite and index in (0, len(STAGES) - 1)
    repeats = round_repeats(STAGES[index].repeats, 1.0 if fixed else variant.depth)
    if repeats > len(string.ascii_lowercase):
        raise ValueError(
            "`depth` must give at most 26 blocks per stage, because weight files "
            f"name them by letter; stage {index + 1} would have {repeats}. "
            f"Received: depth={variant.depth}"
        )
    return repeats
