"""Variants of the network, and the block plan that follows from each.

Nothing here needs Keras: costs and budgets are computed from the same plan that the
builder walks.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import string

from .common.choices import check_choice, did_you_mean
from .networks.families import (
    FAMILIES,
    V2L_STAGES,
    V2M_STAGES,
    V2S_STAGES,
    V2XL_STAGES,
    Family,
)
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
    """One size of a family; `width`, `depth` and `dropout` are ratios.

    Raises:
        ValueError: The family is unknown, or `lite` is set and it is not "v1".
        TypeError: A row of `stages` is not a `Stage`.
    """

    width: float
    depth: float
    resolution: int  # pixels, square
    dropout: float
    lite: bool = False  # ReLU6, no squeeze-excite, stem and head unscaled
    stages: tuple[Stage, ...] = STAGES
    base_stem: int = STEM_FILTERS  # channels before width scaling
    base_head: int = HEAD_FILTERS  # channels before width scaling
    family: str = "v1"  # or "v2", "edgetpu"; Lite nets are "v1" with `lite`
    own_normalization: str = ""  # where it differs from the family's

    def __post_init__(self) -> None:
        check_stages(self.stages)
        check_choice("family", self.family, ("v1", "v2", "edgetpu"))
        if self.lite and self.family != "v1":
            raise ValueError(
                "`lite` must be False unless `family` is 'v1'. "
                f"Received: lite=True, family={self.family!r}"
            )

    @property
    def conventions(self) -> Family:
        """Activation, rounding and layer names."""
        return FAMILIES["lite" if self.lite else self.family]

    @property
    def stem_filters(self) -> int:
        """Number of output channels of the stem."""
        return self.scaled_filters(self.base_stem, is_end=True)

    @property
    def head_filters(self) -> int:
        """Number of output channels of the 1x1 convolution before the pooling."""
        return self.scaled_filters(self.base_head, is_end=True)

    @property
    def smallest_image(self) -> int:
        """Smallest image side, pixels: the network halves it down to 1."""
        return smallest_image(self.stages)

    @property
    def normalization(self) -> str:
        """Name of the input normalisation that published weights expect."""
        return self.own_normalization or self.conventions.normalization

    def scaled_filters(self, filters: int, is_end: bool = False) -> int:
        """Returns a number of channels after width scaling.

        Args:
            filters: Number of channels before width scaling.
            is_end: Whether they belong to the stem or head, which Lite nets leave
                unscaled.
        """
        width = 1.0 if self.lite and is_end else self.width
        limit = self.conventions.rounding_limit
        return round_filters(filters, width, limit=limit)


@dataclasses.dataclass(frozen=True)
class Block:
    """Resolved configuration of one block."""

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
    kind: str = "mbconv"  # or "fused"
    expanded_from: int = 0  # channels that `expand` multiplies; 0: `filters_in`
    depthwise_name: str = "dwconv"  # name of the depthwise layer within the block

    @property
    def expanded(self) -> int:
        """Number of channels between expansion and projection."""
        return (self.expanded_from or self.filters_in) * self.expand

    @property
    def has_skip(self) -> bool:
        """Whether the input is added to the output."""
        keeps_shape = self.stride == 1 and self.filters_in == self.filters_out
        return self.skip and keeps_shape


# Not "normalization", which Keras calls a user's first Normalization layer.
NORMALIZATION_LAYER = "input_normalization"
_LETTERS = string.ascii_lowercase
MAX_BLOCKS = 26 + 26**2  # per stage: as many as two letters can name


def scaled_variant(
    family: str, width: float, depth: float, resolution: int, dropout: float
) -> Variant:
    """Returns an unnamed variant: any scaling of a family.

    Args:
        family: Key of `FAMILIES`.
        width: Ratio of channels to the family's baseline.
        depth: Ratio of blocks to the family's baseline.
        resolution: Image side, pixels.
        dropout: Dropout rate before the classifier.

    Raises:
        ValueError: The family is unknown; the message names the nearest.
    """
    check_choice("family", family, FAMILIES)
    base, lite = FAMILIES[family], family == "lite"
    return Variant(
        width,
        depth,
        resolution,
        dropout,
        lite,
        base.stages,
        base.stem_filters,
        base.head_filters,
        "v1" if lite else family,
    )


def checked_family(family: str, lite: bool = False) -> str:
    """Returns the key of a family; `lite=True` stands for "lite".

    Args:
        family: Key of `FAMILIES`.
        lite: Whether to use the family "lite".

    Raises:
        ValueError: The family is unknown, or `lite` contradicts it.
    """
    check_choice("family", family, FAMILIES)
    if lite and family not in ("v1", "lite"):
        raise ValueError(
            "`lite` must be False unless `family` is 'v1' or 'lite'. "
            f"Received: lite=True, family={family!r}"
        )
    return "lite" if lite else family


def _v2(width: float, depth: float, resolution: int, dropout: float) -> Variant:
    return scaled_variant("v2", width, depth, resolution, dropout)


def _edgetpu(width: float, depth: float, resolution: int, dropout: float) -> Variant:
    return scaled_variant("edgetpu", width, depth, resolution, dropout)


def _v2_large(
    resolution: int, dropout: float, stages: tuple[Stage, ...], base_stem: int
) -> Variant:
    return dataclasses.replace(
        _v2(1.0, 1.0, resolution, dropout),
        stages=stages,
        base_stem=base_stem,
        own_normalization="inception128",
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
    # Resolutions are those of evaluation. Source: google/automl, efficientnetv2,
    # effnetv2_configs.py; tensorflow/tpu, edgetpu/efficientnet_edgetpu_builder.py.
    "EfficientNetV2B0": _v2(1.0, 1.0, 224, 0.2),
    "EfficientNetV2B1": _v2(1.0, 1.1, 240, 0.2),
    "EfficientNetV2B2": _v2(1.1, 1.2, 260, 0.3),
    "EfficientNetV2B3": _v2(1.2, 1.4, 300, 0.3),
    "EfficientNetV2S": _v2_large(384, 0.2, V2S_STAGES, base_stem=24),
    "EfficientNetV2M": _v2_large(480, 0.3, V2M_STAGES, base_stem=24),
    "EfficientNetV2L": _v2_large(480, 0.4, V2L_STAGES, base_stem=32),
    "EfficientNetV2XL": _v2_large(512, 0.4, V2XL_STAGES, base_stem=32),
    "EfficientNetEdgeTPUS": _edgetpu(1.0, 1.0, 224, 0.2),
    "EfficientNetEdgeTPUM": _edgetpu(1.0, 1.1, 240, 0.2),
    "EfficientNetEdgeTPUL": _edgetpu(1.2, 1.4, 300, 0.3),
}


def block_plan(variant: Variant, drop_connect: float = 0.2) -> tuple[Block, ...]:
    """Lists every block of a network, input to output.

    Args:
        variant: Row of `VARIANTS`, or any other scaling of any stages.
        drop_connect: Final rate of stochastic depth. Rates rise linearly with the
            block's position: the first block has 0, the last just under this.

    Raises:
        ValueError: `drop_connect` is not in [0, 1), or a stage has more than
            `MAX_BLOCKS` blocks.

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
        filters_out = variant.scaled_filters(stage.filters)
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
                kind=stage.kind,
                expanded_from=_nominal_input(variant, stage, j),
                depthwise_name=variant.conventions.depthwise_name,
            )
            blocks.append(block)
            filters_in = filters_out
    return tuple(blocks)


def reduction_blocks(plan: tuple[Block, ...]) -> dict[int, str]:
    """Maps reduction levels, usually 1 to 5, to the last block of each.

    Level `i` has one feature per `2**i` input pixels along each side. If the first
    block halves the image, level 1 has no block: its features are the stem's.

    Args:
        plan: Result of `block_plan`.

    Source:
        tensorflow/tpu, efficientnet_model.py (endpoints `reduction_1` ...).
    """
    last = [a.name for a, b in itertools.pairwise(plan) if b.stride == 2]
    return dict(enumerate([*last, plan[-1].name], start=plan[0].stride))


def find_variant(name: str) -> str:
    """Returns the factory name of a variant, from any common spelling.

    Args:
        name: Variant, such as "EfficientNetB0", "efficientnet-b0", "b0", "lite4" or
            "efficientnetv2-s".

    Raises:
        ValueError: The variant is unknown; the message names the nearest.

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
        stage: Number of the stage, from 1.
        index: Index of the block in its stage, from 0. After "z" comes "aa".

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


def _nominal_input(variant: Variant, stage: Stage, index: int) -> int:
    if index > 0 or not stage.nominal_input:
        return 0
    return variant.scaled_filters(stage.nominal_input)


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
