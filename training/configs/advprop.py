r"""EfficientNet on ImageNet with adversarial examples (AdvProp).

python -m training.main --config=advprop:b0 --workdir=runs/advprop

Clean and adversarial images have separate batch normalisation; that of the adversarial
ones is dropped at the end. A step takes two passes, and one more per attacker step.

Target, top-1 on validation: B0 77.6, B1 79.6, B2 80.5, B3 81.9, B4 83.3, B5 84.3,
B6 84.8, B7 85.2, B8 85.5 (tensorflow/tpu README, AdvProp row).
Measured here: not run.

Source: arXiv:1911.09665; its code was never published. The paper's default is epsilon 4
with five steps; it finds that small networks need a weaker attacker, B0 one step of 1.
The values in between are our interpolation.
"""

import dataclasses

from keras_efficientnet.architecture import VARIANTS, find_variant

from ..config import TrainConfig
from . import imagenet

# Largest depth -> epsilon, in pixel values. The attacker takes epsilon + 1 steps of 1,
# and one step if epsilon is 1.
EPSILONS = {
    VARIANTS["EfficientNetB1"].depth: 1,
    VARIANTS["EfficientNetB3"].depth: 2,
    VARIANTS["EfficientNetB5"].depth: 3,
}
DEFAULT_EPSILON = 4


def get_config(variant: str = "b0") -> TrainConfig:
    """Returns the recipe of `imagenet` with AdvProp.

    Args:
        variant: Variant, as in `imagenet`.
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
