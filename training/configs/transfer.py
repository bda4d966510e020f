r"""ImageNet weights fine-tuned on the eight transfer data sets of the paper.

python -m training.main --config=transfer:b0,flowers --workdir=runs/flowers

MODEL,DATASET: any variant with "imagenet" weights, and one of cifar10, cifar100,
birdsnap, cars, flowers, aircraft, pets, food101. TFDS does not have Birdsnap and FGVC
Aircraft; docs/transfer.md explains how to arrange their files.

Target, top-1 on test: the paper's Table 5, for B7 and others.
Measured here: not run.

Source: arXiv:1905.11946, section 5.3, which refers to arXiv:1805.08974, appendix A:
20,000 steps of 256 images, Nesterov momentum 0.9, cosine, the BatchNorm rule below.
There, learning rate and weight decay were tuned for every data set on held-out images,
the learning rate from `LEARNING_RATES`; 0.01 and 1e-5 here are starting points. Unlike
there, the held-out images stay held out: they select the epoch, so that the test images
select nothing. They are a tenth of the training images, for Flowers its 1,020 official
ones.
"""

from typing import Any

from keras_efficientnet.common.choices import did_you_mean

from ..config import TrainConfig
from ..data.dataset_info import TRANSFER

STEPS = 20_000
BATCH_SIZE = 256
LEARNING_RATES = (1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2, 10**-1.5, 1e-1)


def get_config(argument: str = "b0,flowers") -> TrainConfig:
    """Returns the recipe.

    Args:
        argument: "MODEL,DATASET".

    Raises:
        ValueError: There is no such data set.
    """
    model, _, name = argument.partition(",")
    if name not in TRANSFER:
        raise ValueError(
            "The recipe 'transfer' takes MODEL,DATASET, where DATASET is one of "
            f"{', '.join(TRANSFER)}.{did_you_mean(name, TRANSFER)} "
            f"Received: {argument!r}"
        )
    data_set = TRANSFER[name]
    return TrainConfig(
        model=model,
        weights="imagenet",
        data=data_set.data,
        **schedule_fields(data_set.splits["train"], STEPS, BATCH_SIZE),
        lr_per_256=0.01,
        warmup_epochs=0,
        schedule="cosine",
        optimizer="sgd",
        weight_decay=1e-5,
        label_smoothing=0.0,
        ema_decay=0.0,  # no moving average in the paper
        augment="crop_flip",
        checkpoint_every_steps=1000,
    )


def schedule_fields(train_images: int, steps: int, batch_size: int) -> dict[str, Any]:
    """Returns the config fields that depend on the number of training images.

    Args:
        train_images: Number of training images.
        steps: Number of steps of the run.
        batch_size: Number of images per step.
    """
    steps_per_epoch = train_images / batch_size
    return {
        "batch_size": batch_size,
        # Slightly more, so that rounding down does not lose a step.
        "epochs": (steps + 1e-3) / steps_per_epoch,
        "bn_momentum": max(1 - 10 / steps_per_epoch, 0.9),
    }
