"""Config fields of the model and its initial weights."""

import dataclasses

from keras_efficientnet.stages import HEAD_FILTERS, STEM_FILTERS


@dataclasses.dataclass
class ModelFields:
    """Config fields of the model and its initial weights.

    Attributes:
        recipe: Recipe that the configuration was loaded from; set by --config.
        model: Variant ("EfficientNetB0", "lite0"), or "EfficientNet" together with
            `width`, `depth` and `family`.
        width: Width multiplier of the channels (B0: 1.0); with "EfficientNet" only.
        depth: Depth multiplier of the blocks (B0: 1.0); with "EfficientNet" only.
        lite: Whether to use ReLU6 and no squeeze-excite, the same as `family="lite"`;
            with "EfficientNet" only.
        family: Family to scale, with "EfficientNet" only: "v1" (B0 is 1.0), "lite",
            "v2" (V2-B0) or "edgetpu" (EdgeTPU-S).
        stages: Stage table, as JSON text or the path of a file; with "EfficientNet"
            only. None: the family's.
        stem_filters: Channels of the stem before width scaling; with "EfficientNet"
            only.
        head_filters: Channels of the last convolution before width scaling; with
            "EfficientNet" only.
        normalization: Pixel normalisation. None: the variant's.
        padding: Padding of strided convolutions, "same" (TensorFlow's) or "symmetric"
            (PyTorch's). None: that of the published weights, or "same".
        bn_momentum: Momentum of BatchNorm's moving statistics. None: the family's, 0.9
            for V2 and 0.99 for the others. In a run of a few hundred steps, 0.99 is too
            slow for them to catch up.
        bn_epsilon: Epsilon of BatchNorm. None: that of the published weights, or
            0.001.
        weights: Initial weights, a published family, a path, or a repository on the
            Hugging Face Hub, "hf://OWNER/NAME[@REVISION]". None: random.
        head_only_epochs: Number of epochs at the start that train the new classifier
            only.
        unfreeze_from_stage: First stage to train after those epochs, 1 to 7. None: the
            whole network.
        freeze_batch_norm: Whether BatchNorm normalises by its moving statistics and
            does not update them.
    """

    recipe: str | None = None

    # Model
    model: str = "EfficientNetB0"
    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    family: str = "v1"
    stages: str | None = None
    stem_filters: int = STEM_FILTERS
    head_filters: int = HEAD_FILTERS
    normalization: str | None = None
    padding: str | None = None
    bn_momentum: float | None = None
    bn_epsilon: float | None = None

    # Weights
    weights: str | None = None
    head_only_epochs: float = 0.0
    unfreeze_from_stage: int | None = None
    freeze_batch_norm: bool = False
