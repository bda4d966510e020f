"""Naming schemes of other projects for the weights of an EfficientNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..architecture import read_block_name


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
        parts: Module -> our layer, inside a block.
        plain_parts: Module -> our layer, inside a block without expansion.
        expanded: Module that exists only in blocks with expansion.
        torch: Whether kernel layouts and variable names are PyTorch's.
        first_stage: Number of the first stage.
        padding: Padding of all networks with such names, if known.
    """

    name: str
    marker: str
    outside: Mapping[str, str]
    block: str
    parts: Mapping[str, str]
    plain_parts: Mapping[str, str]
    expanded: str
    torch: bool = True
    first_stage: int = 0
    padding: str | None = None

    @property
    def separator(self) -> str:
        """Separator between module and variable."""
        return "." if self.torch else "/"


TORCH_BN = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
# Counters and random states that PyTorch, its averaged models and Keras save.
NOT_WEIGHTS = ("num_batches_tracked", "n_averaged", "seed_generator_state")


def _parts(*modules: str) -> dict[str, str]:
    """Maps the modules of a block, in order of computation, to our layers.

    There are eight modules with expansion and six without.
    """
    layers = ["dwconv", "bn", "se_reduce", "se_expand", "project_conv", "project_bn"]
    if len(modules) == 8:
        layers = ["expand_conv", "expand_bn", *layers]
    return dict(zip(modules, layers, strict=True))


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
    parts=_parts("_expand_conv", "_bn0", *_LUKEMELAS_PARTS),
    plain_parts=_parts(*_LUKEMELAS_PARTS),
    expanded="_expand_conv",
    padding="same",
)
# Also geffnet. Networks with "same" and "symmetric" padding have the same names.
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
    parts=_parts("conv_pw", "bn1", "conv_dw", "bn2", *_SE, "conv_pwl", "bn3"),
    plain_parts=_parts("conv_dw", "bn1", *_SE, "conv_pw", "bn2"),
    expanded="conv_pwl",
)
TORCHVISION = Scheme(
    name="torchvision",
    marker="features.0.0.weight",
    outside={
        "features.0.0": "stem_conv",
        "features.0.1": "stem_bn",
        "features.8.0": "top_conv",
        "features.8.1": "top_bn",
        "classifier.1": "predictions",
    },
    block=r"features\.(?P<stage>[1-7])\.(?P<index>\d+)\.",
    parts=_parts(
        "block.0.0",
        "block.0.1",
        "block.1.0",
        "block.1.1",
        "block.2.fc1",
        "block.2.fc2",
        "block.3.0",
        "block.3.1",
    ),
    plain_parts=_parts(
        "block.0.0",
        "block.0.1",
        "block.1.fc1",
        "block.1.fc2",
        "block.2.0",
        "block.2.1",
    ),
    expanded="block.3.0",
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
    parts=_parts("expansion.expand_conv", "expansion.expand_bn", *_TRANSFORMERS_PARTS),
    plain_parts=_parts(*_TRANSFORMERS_PARTS),
    expanded="expansion.expand_conv",
    padding="same",
)
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
    parts=_parts(
        "conv2d",
        "tpu_batch_normalization",
        "depthwise_conv2d",
        "tpu_batch_normalization_1",
        "se/conv2d",
        "se/conv2d_1",
        "conv2d_1",
        "tpu_batch_normalization_2",
    ),
    plain_parts=_parts(
        "depthwise_conv2d",
        "tpu_batch_normalization",
        "se/conv2d",
        "se/conv2d_1",
        "conv2d",
        "tpu_batch_normalization_1",
    ),
    expanded="conv2d_1",
    torch=False,
    padding="same",
)

# In the order in which they are tried.
SCHEMES = (LUKEMELAS, TIMM, TORCHVISION, TRANSFORMERS, TPU)


def to_timm(name: str, expands: bool) -> str:
    """Returns timm's name of a weight.

    Args:
        name: Our name of the weight, such as "block2a_bn/gamma".
        expands: Whether the block of the weight expands its channels.

    Example:
        >>> to_timm("block2a_bn/gamma", expands=True)
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
        table = TIMM.parts if expands else TIMM.plain_parts
        layer = layer.partition("_")[2]
    module = next(theirs for theirs, ours in table.items() if ours == layer)
    return f"{place}{module}.{names[variable]}"
