r"""Fine-tuning on your own images: one folder per class.

python -m training.main --config=finetune --config.data=folder:DIR \
    --workdir=runs/mine

Starts from EfficientNet-Lite0's ImageNet weights with a new classifier, which is
trained alone at first, then together with the network's last stages. BatchNorm keeps
ImageNet's statistics, so that a few hundred images and small batches are enough.
`training.fine_tune` does the same from Python.

finetune:v2s, and any other EfficientNetV2, is the recipe by which the V2 networks were
fine-tuned from ImageNet-21k: all weights and BatchNorm are trained for 15 epochs, but
at least 10,000 steps of 512 images, which needs an accelerator.

Target of finetune:v2s, top-1: ImageNet 84.9 (V2-M 86.2, V2-L 86.9, V2-XL 87.2;
google/automl README).
Measured here: not run.

Source of the V2 settings: arXiv:2104.00298, section 5.1; google/automl,
efficientnetv2/datasets.py: `ImagenetFt`.
"""

from keras_efficientnet.architecture import VARIANTS, find_variant

from ..config import TrainConfig


def get_config(variant: str = "EfficientNetLite0") -> TrainConfig:
    """Returns the recipe; `data` must be set.

    Args:
        variant: Variant that has "imagenet" weights, or a V2 variant.
    """
    if VARIANTS[find_variant(variant)].family == "v2":
        return _v2(variant)
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


def _v2(variant: str) -> TrainConfig:
    return TrainConfig(
        model=variant,
        weights="imagenet21k",
        # Training and evaluation images have the same size, and neither is cropped.
        crop_ratio=1.0,
        interpolation="bilinear",
        batch_size=512,
        epochs=15,
        min_steps=10_000,
        lr_per_256=0.0005,
        warmup_epochs=1,
        schedule="constant",
        optimizer="rmsprop",
        weight_decay=1e-5,
        decay_biases=False,
        label_smoothing=0.1,
        dropout=0.0,
        drop_connect=0.2,
        ema_decay=0.9996,
        augment="flip_cutout",
        precision="mixed_bfloat16",
    )
