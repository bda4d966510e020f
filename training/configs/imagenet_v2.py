r"""EfficientNetV2 on ImageNet from scratch, with progressive learning.

python -m training.main --config=imagenet_v2:s --workdir=runs/v2s \
    --config.data_dir=TFDS_DIR

VARIANT[,SCHEDULE]: b0 to b3, s, m, l or xl, and "automl" (the default: the settings of
the published code) or "paper" (those of the paper's table 6, for s, m and l). Image
size, RandAugment, MixUp and CutMix grow over four phases; in "paper" dropout does too.

Target, top-1 on validation: B0 78.7, B1 79.8, B2 80.5, B3 82.1, S 83.9, M 85.2, L 85.7
(google/automl README). Others report 83.5 for S and 84.5 for M with its default
settings (issue 1024 there). XL was published with pretraining on ImageNet-21k only.
Measured here: not run.

Source: arXiv:2104.00298, section 4 and table 6; google/automl, efficientnetv2:
effnetv2_configs.py, datasets.py and hparams.py.
"""

import dataclasses
from typing import Any

from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.choices import check_choice

from ..config import TrainConfig
from ..config.progressive import TRAIN_SIZES
from . import imagenet

PREFIX = "EfficientNetV2"
# Largest magnitude of RandAugment and largest alpha of MixUp and CutMix. B0 to B3 train
# with AutoAugment, like the first EfficientNet.
AUTOML = {"S": (10.0, 0.0), "M": (15.0, 0.2), "L": (20.0, 0.5), "XL": (20.0, 0.5)}
# Crops of S to XL. Source: google/automl, efficientnetv2/preprocessing.py.
CROPS: dict[str, Any] = {
    "interpolation": "bilinear_no_antialias",
    "crop_min_area": 0.05,
}
# Largest image size in pixels, magnitude, alpha of MixUp, and dropout.
PAPER = {
    "S": (300, 15.0, 0.0, 0.3),
    "M": (380, 20.0, 0.2, 0.4),
    "L": (380, 25.0, 0.5, 0.5),
}


def get_config(argument: str = "s") -> TrainConfig:
    """Returns the recipe.

    Args:
        argument: "VARIANT[,SCHEDULE]".

    Raises:
        ValueError: The variant is not a V2 one, or the paper does not list it.
    """
    name, _, schedule = argument.partition(",")
    size = v2_size(name)
    schedule = schedule or "automl"
    check_choice("schedule", schedule, ("automl", "paper"))
    run = dataclasses.replace(
        imagenet.get_config(PREFIX + size),
        train_size=TRAIN_SIZES[PREFIX + size],
        batch_size=4096,
        decay_biases=False,
        progressive_schedule=schedule,
        progressive_stages=4,
        progressive_start_size=128,
        progressive_start_magnitude=5.0,
        progressive_start_dropout=0.1,
        mixing="half_and_half",
    )
    if schedule == "paper":
        return _of_paper(run, size)
    if size not in AUTOML:
        return run
    magnitude, alpha = AUTOML[size]
    return dataclasses.replace(
        run,
        **CROPS,
        augment="randaugment",
        randaugment_layers=2,
        randaugment_magnitude=magnitude,
        mixup_alpha=alpha,
        cutmix_alpha=alpha,
    )


def v2_size(name: str) -> str:
    """Returns the size of a V2 variant, such as "S" for "s" or "efficientnetv2-s".

    Args:
        name: Size, or name of a V2 variant in any spelling.

    Raises:
        ValueError: It is not a V2 variant.
    """
    is_size = name.upper() in ("B0", "B1", "B2", "B3", *AUTOML)
    variant = find_variant(f"v2{name}" if is_size else name)
    if not variant.startswith(PREFIX):
        raise ValueError(
            "The variant must be an EfficientNetV2: b0 to b3, s, m, l or xl. "
            f"Received: {name!r}"
        )
    return variant.removeprefix(PREFIX)


def _of_paper(run: TrainConfig, size: str) -> TrainConfig:
    if size not in PAPER:
        raise ValueError(
            "The paper's schedule must be used with s, m or l, as in its table 6. "
            f"Received: {size.lower()!r}"
        )
    pixels, magnitude, alpha, dropout = PAPER[size]
    return dataclasses.replace(
        run,
        **CROPS,
        train_size=pixels,
        augment="randaugment",
        randaugment_layers=2,
        randaugment_magnitude=magnitude,
        mixup_alpha=alpha,
        dropout=dropout,
    )
