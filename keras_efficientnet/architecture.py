"""The family as tables, and the plan of blocks that follows from a row.

Nothing here needs Keras: costs and budgets are computed from the same plan
that the builder walks.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import string

from .common.choices import did_you_mean
from .scaling import round_filters, round_repeats
from .stages import (
    HEAD_FILTERS,
    STAGES,
    STEM_FILTERS,
    Stage,
    check_stages,
    smallest_image,
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One member of the family; `width`, `depth`, `dropout` are ratios."""

    width: float
    depth: float
    resolution: int  # pixels, square
    dropout: float
    lite: bool = False  # ReLU6, no squeeze-excite, stem and head unscaled
    stages: tuple[Stage, ...] = STAGES
    base_stem: int = STEM_FILTERS  # channels before width scaling
    base_head: int = HEAD_FILTERS  # channels before width scaling

    def __post_init__(self) -> None:
        check_stages(self.stages)

    @property
    def stem_filters(self) -> int:
        """Output channels of the stem."""
        return round_filters(self.base_stem, 1.0 if self.lite else self.width)

    @property
    def head_filters(self) -> int:
        """Output channels of the 1x1 convolution before the pooling."""
        return round_filters(self.base_head, 1.0 if self.lite else self.width)

    @property
    def smallest_image(self) -> int:
        """Least image side, pixels: the network halves it down to 1."""
        return smallest_image(self.stages)

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
    skip: bool = True  # whether the input is added where the shape allows it

    @property
    def expanded(self) -> int:
        """Channels of the depthwise convolution."""
        return self.filters_in * self.expand

    @property
    def has_skip(self) -> bool:
        """Whether the input is added to the output."""
        keeps_shape = self.stride == 1 and self.filters_in == self.filters_out
        return self.skip and keeps_shape


# Not "normalization", which Keras calls a user's first Normalization layer.
NORMALIZATION_LAYER = "input_normalization"
_LETTERS = string.ascii_lowercase
MAX_BLOCKS = 26 + 26**2  # per stage: those that two letters can name
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
        variant: Row of `VARIANTS`, or any other scaling of any stages.
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
    repeats = [_stage_repeats(variant, i) for i in range(len(variant.stages))]
    blocks: list[Block] = []
    filters_in = variant.stem_filters
    for i, stage in enumerate(variant.stages):
        filters_out = round_filters(stage.filters, variant.width)
        for j in range(repeats[i]):
            block = Block(
                name=block_name(i + 1, j),
                stage=i + 1,
                kernel=stage.kernel,
                stride=stage.stride if j == 0 else 1,
                expand=stage.expand,
                filters_in=filters_in,
                filters_out=filters_out,
                se_filters=0 if variant.lite else _se_filters(stage, filters_in),
                drop_rate=drop_connect * len(blocks) / sum(repeats),
                skip=stage.skip,
            )
            blocks.append(block)
            filters_in = filters_out
    return tuple(blocks)


def reduction_blocks(plan: tuple[Block, ...]) -> dict[int, str]:
    """Maps reduction levels, 1 to 5 in the family, to the last block of each.

    Level `i` has one feature per `2**i` input pixels along each side. Where the first
    block halves the image, no block is at level 1, which the stem alone makes.

    Args:
        plan: Result of `block_plan`.

    Source:
        tensorflow/tpu, efficientnet_model.py (endpoints `reduction_1` ...).
    """
    last = [a.name for a, b in itertools.pairwise(plan) if b.stride == 2]
    return dict(enumerate([*last, plan[-1].name], start=plan[0].stride))


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


def block_name(stage: int, index: int) -> str:
    """Names a block: "block2a" is the first of the second stage.

    Args:
        stage: From 1.
        index: In the stage, from 0. After "z" comes "aa".

    Example:
        >>> block_name(2, 0), block_name(6, 26)
        ('block2a', 'block6aa')
    """
    tens, ones = divmod(index, len(_LETTERS))
    return f"block{stage}{_LETTERS[tens - 1] if tens else ''}{_LETTERS[ones]}"


def read_block_name(layer: str) -> tuple[int, int] | None:
    """Returns the stage and the index of a block; None for other layers.

    Args:
        layer: Name of a layer, or of a block itself.

    Example:
        >>> read_block_name("block6aa_bn")
        (6, 26)
    """
    match = re.match(r"block(\d+)([a-z]{1,2})(?:_|$)", layer)
    if match is None:
        return None
    index = -1
    for letter in match[2]:
        index = len(_LETTERS) * (index + 1) + _LETTERS.index(letter)
    return int(match[1]), index


def _se_filters(stage: Stage, filters_in: int) -> int:
    return max(1, int(filters_in * stage.se_ratio)) if stage.se_ratio else 0


def _stage_repeats(variant: Variant, index: int) -> int:
    # The Lite nets leave the first and last stage at their base depth.
    fixed = variant.lite and index in (0, len(variant.stages) - 1)
    base = variant.stages[index].repeats
    repeats = round_repeats(base, 1.0 if fixed else variant.depth)
    if repeats > MAX_BLOCKS:
        raise ValueError(
            f"`depth` must give at most {MAX_BLOCKS} blocks per stage, because weight "
            f"files name them by two letters; stage {index + 1} would have {repeats}. "
            f"Received: depth={variant.depth}"
        )
    return repeats
