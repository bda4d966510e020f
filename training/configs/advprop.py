r"""EfficientNet on ImageNet with adversarial examples as more training images.

python -m training.main --config=advprop:b0 --workdir=runs/advprop

Clean and attacked images have batch normalisations of their own; the attacked ones'
are dropped at the end. Takes two passes a step, and one more per step of the attacker.

Target, top-1 on validation: B0 77.6, B1 79.6, B2 80.5, B3 81.9, B4 83.3, B5 84.3,
B6 84.8, B7 85.2, B8 85.5 (tensorflow/tpu README, AdvProp row).
Measured here: not run.

Source: arXiv:1911.09665; its code was never published. The paper has epsilon 4 with
five steps as its default and finds that small networks want a weaker attacker, B0 one
step of 1. The sizes between these two are our interpolation.
"""

import dataclasses

from keras_efficientnet.architecture import VARIANTS, find_variant

from ..config import TrainConfig
from . import imagenet

# Up to this depth -> epsilon, in pixel values. The attacker makes epsilon + 1 steps
# of 1, and one step where epsilon is 1.
EPSILONS = {
    VARIANTS["EfficientNetB1"].depth: 1,
    VARIANTS["EfficientNetB3"].depth: 2,
    VARIANTS["EfficientNetB5"].depth: 3,
}
DEFAULT_EPSILON = 4


def get_config(variant: str = "b0") -> TrainConfig:
    """Returns the recipe of `imagenet` with an attacker.

    Args:
        variant: As for `imagenet`.
    """
    depth = VARIANTS[find_variant(variant)].depth
    strengths = [epsilon for most, epsilon in EPSILONS.items() if depth <= most]
    epsilon = strengths[0] if strengths else DEFAULT_EPSILON
    return dataclasses.replace(
        imagenet.get_config(variant),
        normalization="inception",
        adversarial_epsilon=float(epsilon),
        adversarial_steps=1 if epsilon == 1 else epsilon + 1,
    )
