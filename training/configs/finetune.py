r"""Fine-tuning on your own images: one folder per class.

python -m training.main --config=finetune --config.data=folder:DIR \
    --workdir=runs/mine

Starts from EfficientNet-Lite0's ImageNet weights with a new classifier; every weight is
trained. Takes a few hundred images and up.
"""

from ..config import TrainConfig


def get_config() -> TrainConfig:
    """Returns the recipe; `data` has to be set."""
    return TrainConfig(
        model="EfficientNetLite0",
        weights="imagenet",
        batch_size=32,
        epochs=10,
        lr_per_256=0.016,
        warmup_epochs=1,
        schedule="cosine",
        optimizer="rmsprop",
        weight_decay=1e-5,
        label_smoothing=0.1,
        # A few hundred steps in all: slower averages would not catch up.
        ema_decay=0.98,
        bn_momentum=0.9,
        augment="crop_flip",
    )
