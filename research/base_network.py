"""Base network of a study, and its training configuration."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from keras_efficientnet import (
    STAGES,
    VARIANTS,
    Scaling,
    Stage,
    format_stages,
    read_stages,
)
from keras_efficientnet.architecture import Variant, find_variant
from keras_efficientnet.common.choices import did_you_mean

from . import baselines, trainer
from .options import option

# Two downsamplings after the stem suit images of 14 pixels or more.
SMALL = (
    Stage(repeats=1, kernel=3, stride=1, expand=1, filters=16),
    Stage(repeats=2, kernel=3, stride=2, expand=4, filters=24),
    Stage(repeats=2, kernel=3, stride=2, expand=4, filters=40),
)
DIGITS_EPOCHS = 30.0  # more epochs, because there are only a thousand images


@dataclasses.dataclass(frozen=True)
class ParallelOptions:
    """Options of the studies that divide training runs among processes."""

    processes: int = option(
        0,
        "Number of parallel training runs; 0: one per core, or 1 with GPUs.",
        is_setting=False,
    )
    storage: str = option(
        "",
        "Folder that several machines share to divide the training runs. By "
        "default a folder in output_dir.",
        is_setting=False,
    )

    def storage_folder(self, root: pathlib.Path) -> pathlib.Path:
        """Returns the folder of the training runs.

        Args:
            root: Folder of the study.
        """
        return pathlib.Path(self.storage or root / "trials").expanduser()


@dataclasses.dataclass(frozen=True)
class TrainingOptions(ParallelOptions):
    """Options shared by the studies that train networks."""

    data: str = option(
        "",
        "Data source, as for training. By default the recipe's, or if it has none, "
        "fashion_mnist if that is installed, otherwise digits.",
    )
    recipe: str = option(
        "",
        "Training recipe, NAME[:ARG] or FILE.py[:ARG], for all settings without an "
        "option here. By default one for small images.",
    )
    base: str = option(
        "",
        "Base network: a variant such as EfficientNetB0, or a JSON file with a stage "
        "table. By default the recipe's network.",
    )
    image_size: int = option(0, "Image size of the base, in pixels; 0: the recipe's.")
    epochs: float = option(0.0, "Epochs per training run; 0: the recipe's.")
    lr_per_256: float = option(
        0.0, "Peak learning rate at a batch size of 256; 0: the recipe's."
    )
    train_images: int = option(15_000, "Maximum number of training images; 0: all.")
    validation_images: int = option(
        2_000, "Maximum number of images to choose the best epoch on; 0: all."
    )
    test_images: int = option(
        10_000, "Maximum number of test images, scored at the end; 0: all."
    )


def resolve_data(options: Any) -> Any:
    """Replaces an empty data source by the recipe's, or by a small one.

    Args:
        options: Options of a study.

    Raises:
        ValueError: There is no such recipe.
    """
    if options.data:
        return options
    data = trainer.config.load(options.recipe).data if options.recipe else None
    installed = trainer.sources.FASHION_MNIST.is_dir()
    small = "fashion_mnist" if installed else "digits"
    return dataclasses.replace(options, data=data or small)


def base_config(options: TrainingOptions) -> trainer.config.TrainConfig:
    """Returns the training configuration of the unscaled network.

    Args:
        options: Options with a resolved data source.

    Returns:
        Config of the model "EfficientNet", with its stage table as JSON text.

    Raises:
        ValueError: An option is invalid.
    """
    config = trainer.config.load(options.recipe) if options.recipe else small_config()
    if not options.recipe and options.data == "digits":
        config.epochs = DIGITS_EPOCHS
    row = _base_row(options.base) if options.base else trainer.variant_of(config)
    if row.family != "v1":
        raise ValueError(
            "`base` must be an original EfficientNet or a Lite variant: studies do "
            f"not scale other families yet. Received: family={row.family!r}"
        )
    config.width, config.depth, config.lite = row.width, row.depth, row.lite
    config.stages = None if row.stages == STAGES else format_stages(row.stages)
    config.stem_filters, config.head_filters = row.base_stem, row.base_head
    config.image_size = options.image_size or config.image_size or row.resolution
    config.model, config.data = trainer.config.ANY_SCALING, options.data
    config.epochs = options.epochs or config.epochs
    config.lr_per_256 = options.lr_per_256 or config.lr_per_256
    config.validate()
    return config


def scaled_config(
    config: trainer.config.TrainConfig, scaling: Scaling, seed: int
) -> trainer.config.TrainConfig:
    """Returns the training configuration of a scaled network.

    Args:
        config: Training configuration of the base.
        scaling: Ratios to the base.
        seed: Random seed of weights, data order and augmentation.
    """
    return dataclasses.replace(
        config,
        width=config.width * scaling.width,
        depth=config.depth * scaling.depth,
        image_size=scaling.image_size(config.resolution),
        seed=seed,
    )


def count_classes(config: trainer.config.TrainConfig) -> int:
    """Returns the number of classes of the training data."""
    source = trainer.sources.load(config.source_name, data_dir=config.data_dir)
    return len(source.class_names)


def describe(config: trainer.config.TrainConfig) -> str:
    """Describes the base network and its training in a few sentences."""
    rows = "; ".join(
        f"{s.repeats} x MBConv{s.expand}, {s.kernel}x{s.kernel}, stride {s.stride}, "
        f"{s.filters} channels"
        for s in config.stage_table
    )
    return (
        f"The base network: stem of {config.stem_filters} channels, {rows}, head of "
        f"{config.head_filters} channels, {describe_training(config)}"
    )


def describe_training(config: trainer.config.TrainConfig) -> str:
    """Describes data, image size and training, to complete a sentence."""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs:g} epochs"
    return (
        f"on `{config.data}` at {config.image_size} pixels. Each network is trained "
        f"for {epochs} with batch size {config.batch_size}, "
        f"{config.optimizer} and a {config.schedule} schedule, with a peak learning "
        f"rate of {config.peak_lr:g}."
    )


def small_config() -> trainer.config.TrainConfig:
    """Returns the default training configuration of studies, for small images."""
    return trainer.config.TrainConfig(
        model=trainer.config.ANY_SCALING,
        stages=format_stages(SMALL),
        stem_filters=16,
        head_filters=160,
        image_size=16,
        crop_ratio=1.0,
        interpolation="bilinear",
        batch_size=64,
        epochs=3,
        lr_per_256=0.01,
        warmup_epochs=0.3,
        schedule="cosine",
        optimizer="adamw",
        weight_decay=0.01,
        # With only hundreds of steps in total, a slower average would lag behind.
        ema_decay=0.98,
        bn_momentum=0.9,
        label_smoothing=0.1,
        augment="none",
        dropout=0.1,
        drop_connect=0.0,
        strategy="one_device",
    )


def _base_row(base: str) -> Variant:
    if pathlib.Path(base).expanduser().is_file():
        small = small_config()
        size = (1.0, 1.0, small.resolution, 0.2, False)
        return Variant(*size, read_stages(base), small.stem_filters, small.head_filters)
    try:
        return VARIANTS[find_variant(base)]
    except ValueError as error:
        near = did_you_mean(base, (*VARIANTS, *baselines.NETWORKS))
        raise ValueError(
            "`base` must be a variant such as EfficientNetB0 or a JSON file with a "
            f"stage table; in the scaling study also {', '.join(baselines.NETWORKS)}."
            f"{near} Received: base={base!r}"
        ) from error
