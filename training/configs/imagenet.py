r"""EfficientNet on ImageNet from scratch, with AutoAugment.

python -m training.main --config=imagenet:b0 --workdir=runs/b0 \
    --config.data_dir=TFDS_DIR

Target, top-1 on validation: B0 77.1, B1 79.1, B2 80.1, B3 81.6, B4 82.9, B5 83.6,
B6 84.0, B7 84.3 (tensorflow/tpu README, AutoAugment row); Lite0 75.1, Lite1 76.7,
Lite2 77.6, Lite3 79.8, Lite4 81.5 (its Lite page).
Measured here: not run.

Source: arXiv:1905.11946, section 5.2; tensorflow/tpu, models/official/efficientnet,
main.py (the defaults of its flags).
"""

from ..config import TrainConfig
from ..data.dataset_info import IMAGENET


def get_config(variant: str = "b0") -> TrainConfig:
    """Returns the recipe.

    Args:
        variant: Variant, "b0" to "b8", "l2" or "lite0" to "lite4". It decides the
            network, its image size and its dropout; the rest is the same for all.
    """
    return TrainConfig(
        model=variant,
        data=IMAGENET.data,
        # The README held out 25,022, the first 20 of 1024 files.
        minival=25_000,
        on_bad_image="raise",
        batch_size=2048,
        epochs=350,
        lr_per_256=0.016,
        warmup_epochs=5,
        schedule="exponential",
        decay_epochs=2.4,
        optimizer="rmsprop",
        weight_decay=1e-5,
        label_smoothing=0.1,
        ema_decay=0.9999,
        augment="autoaugment",
        augment_compat="exact",
        drop_connect=0.2,
        precision="mixed_bfloat16",
        checkpoint_every_steps=1251,
    )
