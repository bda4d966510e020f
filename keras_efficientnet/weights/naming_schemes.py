"""Naming schemes of other projects for the weights of an EfficientNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..architecture import read_block_name


class BlockLayout(NamedTuple):
    """Names of one kind of block in a project."""

    marks: tuple[str, ...]  # modules whose kernels identify the kind
    parts: Mapping[str, str]  # our layers inside the block, by module


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Naming scheme of one project.

    A name consists of a module and a variable: "blocks.0.1.bn1.weight" is
    "blocks.0.1.", which identifies the block, then "bn1", then "weight".

    Attributes:
        name: Name of the project.
        marker: Name of the stem's kernel, which identifies the scheme.
        outside: Module -> our layer, outside of blocks.
        block: Pattern that identifies a block. Its groups are a number counted through
            the network ("number"), or a stage and an index in it ("stage", "index").
        layouts: Kinds of blocks; a block is of the first kind whose marks it has.
        torch: Whether kernel layouts and variable names are PyTorch's.
        first_stage: Number of the first stage.
        padding: Padding of all networks with such names, if known.
    """

    name: str
    marker: str
    outside: Mapping[str, str]
    block: str
    layouts: tuple[BlockLayout, ...]
    torch: bool = True
    first_stage: int = 0
    padding: str | None = None

    @property
    def separator(self) -> str:
        """Separator between module and variable."""
        return "." if self.torch else "/"

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """Variables that are kernels."""
        return ("weight",) if self.torch else ("kernel", "depthwise_kernel")


TORCH_BN = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# Counters and random states that PyTorch, its averaged models and Keras save.
NOT_WEIGHTS = ("num_batches_tracked", "n_averaged", "seed_generator_state")


_EXCITED = ("dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn")
# Layers in the order of computation: MBConv, MBConv that does not expand, Fused-MBConv,
# Fused-MBConv that does not expand.
_LAYERS = {
    "mbconv": ("expand_conv", "expand_bn", *_EXCITED),
    "plain": _EXCITED,
    "fused": ("expand_conv", "expand_bn", "project_conv", "project_bn"),
    "fused_plain": ("project_conv", "project_bn"),
}


def _layout(kind: str, modules: tuple[str, ...], *marks: str) -> BlockLayout:
    return BlockLayout(marks, dict(zip(modules, _LAYERS[kind], strict=True)))


_SE = ("se.conv_reduce", "se.conv_expand")

# Source: the model definition of each project.
_LUKEMELAS_PARTS = (
    *("_depthwise_conv", "_bn1", "_se_reduce", "_se_expand"),
    *("_project_conv", "_bn2"),
)
LUKEMELAS = Scheme(
    name="lukemelas",
    marker="_conv_stem.weight",
    outside={
        "_conv_stem": "stem_conv",
        "_bn0": "stem_bn",
        "_conv_head": "top_conv",
        "_bn1": "top_bn",
        "_fc": "predictions",
    },
    block=r"_blocks\.(?P<number>\d+)\.",
    layouts=(
        _layout("mbconv", ("_expand_conv", "_bn0", *_LUKEMELAS_PARTS), "_expand_conv"),
        _layout("plain", _LUKEMELAS_PARTS),
    ),
    padding="same",
)
# Also used by geffnet. The names are the same for "same" and "symmetric" padding.
TIMM = Scheme(
    name="timm",
    marker="conv_stem.weight",
    outside={
        "conv_stem": "stem_conv",
        "bn1": "stem_bn",
        "conv_head": "top_conv",
        "bn2": "top_bn",
        "classifier": "predictions",
    },
    block=r"blocks\.(?P<stage>\d+)\.(?P<index>\d+)\.",
    layouts=(
        _layout(
            "mbconv",
            ("conv_pw", "bn1", "conv_dw", "bn2", *_SE, "conv_pwl", "bn3"),
            *("conv_dw", "conv_pwl"),
        ),
        _layout("plain", ("conv_dw", "bn1", *_SE, "conv_pw", "bn2"), "conv_dw"),
        _layout("fused", ("conv_exp", "bn1", "conv_pwl", "bn2"), "conv_exp"),
        _layout("fused_plain", ("conv", "bn1")),
    ),
)
TORCHVISION = Scheme(
    name="torchvision",
    marker="features.0.0.weight",
    outside={
        "features.0.0": "stem_conv",
        "features.0.1": "stem_bn",
        # Networks with six stages.
        "features.7.0": "top_conv",
        "features.7.1": "top_bn",
        "features.8.0": "top_conv",
        "features.8.1": "top_bn",
        "classifier.1": "predictions",
    },
    block=r"features\.(?P<stage>[1-7])\.(?P<index>\d+)\.",
    layouts=(
        _layout(
            "mbconv",
            (
                *("block.0.0", "block.0.1", "block.1.0", "block.1.1"),
                *("block.2.fc1", "block.2.fc2", "block.3.0", "block.3.1"),
            ),
            "block.3.0",
        ),
        _layout(
            "plain",
            (
                *("block.0.0", "block.0.1", "block.1.fc1", "block.1.fc2"),
                *("block.2.0", "block.2.1"),
            ),
            "block.2.0",
        ),
        _layout(
            "fused", ("block.0.0", "block.0.1", "block.1.0", "block.1.1"), "block.1.0"
        ),
        _layout("fused_plain", ("block.0.0", "block.0.1")),
    ),
    first_stage=1,
    padding="symmetric",
)
_TRANSFORMERS_PARTS = (
    *("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    *("squeeze_excite.reduce", "squeeze_excite.expand"),
    *("projection.project_conv", "projection.project_bn"),
)
TRANSFORMERS = Scheme(
    name="transformers",
    marker="embeddings.convolution.weight",
    outside={
        "embeddings.convolution": "stem_conv",
        "embeddings.batchnorm": "stem_bn",
        "encoder.top_conv": "top_conv",
        "encoder.top_bn": "top_bn",
        "classifier": "predictions",
    },
    block=r"encoder\.blocks\.(?P<number>\d+)\.",
    layouts=(
        _layout(
            "mbconv",
            ("expansion.expand_conv", "expansion.expand_bn", *_TRANSFORMERS_PARTS),
            "expansion.expand_conv",
        ),
        _layout("plain", _TRANSFORMERS_PARTS),
    ),
    padding="same",
)
# google/automl has the same names for EfficientNetV2.
TPU = Scheme(
    name="tensorflow/tpu",
    marker="stem/conv2d/kernel",
    outside={
        "stem/conv2d": "stem_conv",
        "stem/tpu_batch_normalization": "stem_bn",
        "head/conv2d": "top_conv",
        "head/tpu_batch_normalization": "top_bn",
        "head/dense": "predictions",
    },
    block=r"blocks_(?P<number>\d+)/",
    layouts=(
        _layout(
            "mbconv",
            (
                *("conv2d", "tpu_batch_normalization"),
                *("depthwise_conv2d", "tpu_batch_normalization_1"),
                *("se/conv2d", "se/conv2d_1"),
                *("conv2d_1", "tpu_batch_normalization_2"),
            ),
            *("depthwise_conv2d", "conv2d_1"),
        ),
        _layout(
            "plain",
            (
                *("depthwise_conv2d", "tpu_batch_normalization"),
                *("se/conv2d", "se/conv2d_1"),
                *("conv2d", "tpu_batch_normalization_1"),
            ),
            "depthwise_conv2d",
        ),
        _layout(
            "fused",
            (
                *("conv2d", "tpu_batch_normalization"),
                *("conv2d_1", "tpu_batch_normalization_1"),
            ),
            "conv2d_1",
        ),
        _layout("fused_plain", ("conv2d", "tpu_batch_normalization")),
    ),
    torch=False,
    padding="same",
)

# In the order in which they are tried.
SCHEMES = (LUKEMELAS, TIMM, TORCHVISION, TRANSFORMERS, TPU)


def is_depthwise(layer: str) -> bool:
    """Returns whether one of our layers is a depthwise convolution, by its name."""
    return layer.endswith(("dwconv", "dwconv2"))


def to_timm(name: str, layers: Collection[str]) -> str:
    """Returns timm's name of a weight.

    Args:
        name: Our name of the weight, such as "block2a_bn/gamma".
        layers: Names of all layers of the network with weights.

    Example:
        >>> to_timm("block2a_bn/gamma", ["block2a_expand_conv", "block2a_dwconv"])
        'blocks.1.0.bn2.weight'
    """
    layer, variable = name.split("/")
    names = {"kernel": "weight", "bias": "bias"}
    if layer.endswith("bn"):
        names = {ours: theirs for theirs, ours in TORCH_BN.items()}
    place, table = "", TIMM.outside
    block = read_block_name(layer)
    if block:
        place = f"blocks.{block[0] - 1}.{block[1]}."
        prefix, _, layer = layer.partition("_")
        layer = "dwconv" if is_depthwise(layer) else layer
        table = _timm_parts(prefix, layers)
    module = next(theirs for theirs, ours in table.items() if ours == layer)
    return f"{place}{module}.{names[variable]}"


def _timm_parts(block: str, layers: Collection[str]) -> Mapping[str, str]:
    expands = f"{block}_expand_conv" in layers
    is_fused = not {f"{block}_dwconv", f"{block}_dwconv2"} & set(layers)
    return TIMM.layouts[2 * is_fused + (not expands)].parts
