r"""EfficientNet on ImageNet from scratch, with RandAugment.

python -m training.main --config=imagenet_randaugment:b5 --workdir=runs/b5

Target, top-1 on validation: B5 83.7, B7 84.7 (tensorflow/tpu README, RandAugment row).
Measured here: not run.

Source: tensorflow/tpu README, which gives N and M for B5, B7 and B8; the others use the
defaults of its flags.
"""

import dataclasses

from keras_efficientnet.architecture import find_variant

from ..config import TrainConfig
from . import imagenet

# Magnitude M; N is 2 for all.
MAGNITUDES = {"EfficientNetB5": 17.0, "EfficientNetB7": 28.0, "EfficientNetB8": 28.0}
DEFAULT_MAGNITUDE = 10.0


def get_config(variant: str = "b5") -> TrainConfig:
    """Returns the recipe of `imagenet` with RandAugment.

    Args:
        variant: Variant, as in `imagenet`.
    """
    return dataclasses.replace(
        imagenet.get_config(variant),
        augment="randaugment",
        randaugment_layers=2,
        randaugment_magnitude=MAGNITUDES.get(find_variant(variant), DEFAULT_MAGNITUDE),
    )
