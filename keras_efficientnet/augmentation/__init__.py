"""Augmentation and the evaluation crop, for tf.data, as layers, and in NumPy.

The training recipes are built from these classes. Use them with `dataset.apply` or
`dataset.map`, under any Keras backend; they run in TensorFlow, which is imported when
one is first called. `EvalCrop` also works on files and arrays without
TensorFlow.
"""

from .crops import EvalCrop, TrainCrop
from .image_augmentations import AugMix, AutoAugment, RandAugment, RandomErasing
from .layers import AugmentationLayer
from .mixing import CutMix, MixUp

__all__ = [
    "AugMix",
    "AugmentationLayer",
    "AutoAugment",
    "CutMix",
    "EvalCrop",
    "MixUp",
    "RandAugment",
    "RandomErasing",
    "TrainCrop",
]
