r"""Noisy Student: ImageNet plus images with pseudo labels from a teacher.

python -m training.main --config=noisy_student:b1 --workdir=runs/student \
    --config.pseudo_labels=FILE

Write FILE with `training.pseudo_label`: it labels a folder of images with a teacher,
the model of a finished run. The student becomes the next teacher; docs/recipes.md shows
the loop.

Target, top-1 on validation: B0 78.8, B1 81.5, B2 82.4, B3 84.1, B4 85.3, B5 86.1,
B6 86.4, B7 86.9, L2 88.4 (tensorflow/tpu README), with 300 million images that are not
public.
Measured here: not run.

Source: arXiv:1911.04252, section 3; its code was never published. The last 1.5 epochs,
at a higher resolution and without augmentation, are a run of their own; docs/recipes.md
has it.
"""

import dataclasses

from keras_efficientnet.architecture import VARIANTS, find_variant

from ..config import TrainConfig
from . import imagenet

LARGEST_SHORT = VARIANTS["EfficientNetB4"]  # larger ones train twice as long


def get_config(variant: str = "b0") -> TrainConfig:
    """Returns the recipe; the file `pseudo_labels` must exist before the run.

    Args:
        variant: Variant, as in `imagenet`.
    """
    scaling = VARIANTS[find_variant(variant)]
    is_large = scaling.depth > LARGEST_SHORT.depth
    return dataclasses.replace(
        imagenet.get_config(variant),
        pseudo_labels="pseudo.npz",
        augment="randaugment",
        randaugment_layers=2,
        randaugment_magnitude=27.0,
        dropout=0.5,
        drop_connect=0.2,
        epochs=700 if is_large else 350,
        decay_epochs=4.8 if is_large else 2.4,
    )
