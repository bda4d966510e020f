r"""Fine-tuning on your own images: one folder per class.

python -m training.main --config=finetune --config.data=folder:DIR \
    --workdir=runs/mine

Starts from EfficientNet-Lite0's ImageNet weights with a new classifier, which is
trained alone at first, then together with the network's last stages. BatchNorm keeps
ImageNet's statistics, so that a few hundred images and small batches are enough.
`training.fine_tune` does the same from Python.
"""

from ..config import TrainConfig


def get_config(variant: str = "EfficientNetLite0") -> TrainConfig:
    """Returns the recipe; `data` must be set.

    Args:
        variant: Variant that has "imagenet" weights.
    """
    return TrainConfig(
        model=variant,
        weights="imagenet",
        batch_size=32,
        epochs=20,
        head_only_epochs=8,
        unfreeze_from_stage=5,
        freeze_batch_norm=True,
        lr_per_256=0.016,
        warmup_epochs=1,
        schedule="cosine",
        optimizer="rmsprop",
        weight_decay=1e-5,
        label_smoothing=0.1,
        # Slower averages would not catch up in a few hundred steps.
        ema_decay=0.98,
        augment="crop_flip",
    )
