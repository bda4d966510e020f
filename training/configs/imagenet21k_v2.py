r"""EfficientNetV2 pretraining on ImageNet-21k.

python -m training.main --config=imagenet21k_v2:s --config.data='tfrecord:FILES' \
    --workdir=runs/v2s_21k

The weights of the run are a start for `finetune` with `--config.weights=FILE`. Of an
image's several labels only one is used; the original trained on all, each with an equal
share.

Target: top-1 after fine-tuning on ImageNet S 84.9, M 86.2, L 86.9, XL 87.2
(google/automl README).
Measured here: not run.

Source: arXiv:2104.00298, section 5.1; google/automl, efficientnetv2/datasets.py:
`ImageNet21k`.
"""

import dataclasses

from ..config import TrainConfig
from . import imagenet_v2


def get_config(variant: str = "s") -> TrainConfig:
    """Returns the recipe; `data` must be set.

    Args:
        variant: Variant, "b0" to "b3", "s", "m", "l" or "xl".
    """
    size = imagenet_v2.v2_size(variant)
    return dataclasses.replace(
        imagenet_v2.get_config(size),
        data=None,
        minival=0,
        image_size=224,
        train_size=None,
        **imagenet_v2.CROPS,  # for all sizes, like the normalisation
        normalization="inception128",
        epochs=60,
        lr_per_256=0.008,
        warmup_epochs=1,
        schedule="cosine",
        label_smoothing=0.0,
        dropout=0.0,
        drop_connect=0.0,
        augment="crop_flip",
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        progressive_schedule=None,
        checkpoint_every_steps=3105,  # an epoch
    )
