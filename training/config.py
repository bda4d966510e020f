"""Training configuration and its JSON form."""

import dataclasses
import importlib.util
import json
import pathlib
from typing import Any, Self

from keras_efficientnet import VARIANTS, weights_info
from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.choices import did_you_mean
from keras_efficientnet.preprocessing import EvalPreprocessing, default_crop_ratio
from keras_efficientnet.stages import (
    HEAD_FILTERS,
    STAGES,
    STEM_FILTERS,
    Stage,
    format_stages,
    read_stages,
)
from keras_efficientnet.weights.registry.table import known_families

from . import config_checks, config_names
from .data import class_balance

ANY_SCALING = "EfficientNet"
RECIPES = pathlib.Path(__file__).parent / "configs"


@dataclasses.dataclass
class TrainConfig:
    """Training configuration: everything that decides the outcome of a run.

    For fields that may be None, the text says what None means. `config_checks.CHOICES`
    lists the values of fields with a fixed set of them.

    The class is not frozen, so that command-line flags can override fields; values
    derived from fields are properties, so that no override leaves them stale. The
    flags need real field types: no `from __future__ import annotations` here.

    Attributes:
        recipe: Recipe that the configuration was loaded from; set by --config.
        model: Variant ("EfficientNetB0", "lite0"), or "EfficientNet" together with
            `width`, `depth` and `lite`.
        width: Width multiplier of the channels (B0: 1.0); with "EfficientNet" only.
        depth: Depth multiplier of the blocks (B0: 1.0); with "EfficientNet" only.
        lite: Whether to use ReLU6 and no squeeze-excite; with "EfficientNet" only.
        stages: Stage table, as JSON text or the path of a file; with "EfficientNet"
            only. None: B0's.
        stem_filters: Channels of the stem before width scaling; with "EfficientNet"
            only.
        head_filters: Channels of the last convolution before width scaling; with
            "EfficientNet" only.
        normalization: Pixel normalisation. None: the variant's.
        padding: Padding of strided convolutions, "same" (TensorFlow's) or "symmetric"
            (PyTorch's). None: that of the published weights, or "same".
        bn_momentum: Momentum of BatchNorm's moving statistics. In a run of a few
            hundred steps, 0.99 is too slow for them to catch up.
        bn_epsilon: Epsilon of BatchNorm. None: that of the published weights, or
            0.001.
        weights: Initial weights, a published family or a path. None: random.
        head_only_epochs: Number of epochs at the start that train the new classifier
            only.
        unfreeze_from_stage: First stage to train after those epochs, 1 to 7. None: the
            whole network.
        freeze_batch_norm: Whether BatchNorm normalises by its moving statistics and
            does not update them.
        data: Data source: "digits", "fashion_mnist", "idx:DIR", "folder:DIR",
            "csv:FILE", "tfds:NAME", with ":VERSION" or "+download" after it, or
            "tfrecord:GLOB". Required.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.
        image_size: Side of the network's input in pixels. None: the variant's.
        crop_ratio: Side of the central crop in evaluation as a ratio to the image's
            shorter side. None: that of the published weights, or
            `default_crop_ratio`.
        interpolation: Resize method.
        minival: Number of training images held out by a fixed rule. Every epoch is
            validated on them, and the real validation images are scored once, at the
            end.
        pseudo_labels: File of pseudo labels from `training.pseudo_label`; its images
            join the training images. None: no pseudo labels.
        on_bad_image: Action for an image that cannot be decoded: "raise" an error or
            "skip" the image.
        sampling: Share of the classes in the training batches: "balanced" draws all
            equally often, "sqrt" by the square root of their numbers of images. None:
            each image once per epoch.
        augment: Augmentation policy.
        augment_compat: Compatibility with the original implementation: "exact"
            reproduces its bugs, "fixed" does what was intended.
        randaugment_layers: Number of operations per image, N in the RandAugment paper.
        randaugment_magnitude: Strength of the operations, M in the RandAugment paper;
            10 is the nominal maximum.
        random_erasing: Probability of erasing a rectangle of an image.
        mixup_alpha: Alpha of MixUp's Beta distribution. 0 turns MixUp off.
        cutmix_alpha: Alpha of CutMix's Beta distribution. 0 turns CutMix off. With
            both, each batch uses one of them.
        adversarial_epsilon: Maximum perturbation of AdvProp's attacker in pixel
            values. 0 turns AdvProp off.
        adversarial_steps: Number of steps of AdvProp's attacker.
        batch_size: Images per step, over all replicas.
        grad_accum_steps: Number of parts that each replica splits its share of a batch
            into, to save memory; their gradients are summed.
        optimizer: Optimizer.
        lr_per_256: Learning rate for a batch of 256 images; it scales linearly with
            the batch size.
        clip_norm: Maximum global norm of the gradients. None: no clipping.
        epochs: Number of passes over the training images; may be fractional.
        schedule: Learning-rate schedule.
        warmup_epochs: Epochs of linear warmup, part of `epochs`.
        decay_epochs: Epochs between two decays of the "exponential" schedule.
        patience_epochs: Epochs without improvement on validation before the run stops
            early. None: no early stopping.
        progressive_sizes: Image sizes of progressive resizing, each for an equal share
            of the epochs, such as "128,176,224". None: `image_size` throughout.
        loss: Training loss.
        focal_gamma: Exponent of the focal loss.
        class_weights: Class weights in the training loss: "balanced",
            "effective_number[:BETA]" or the path of a JSON file. None: 1.
        logit_adjustment: Factor of the logarithms of the class priors, which are added
            to the logits in training; 1 is the paper's. 0: no adjustment.
        weight_decay: Weight decay; not applied to BatchNorm. Coupled with "rmsprop" and
            "sgd" (weight_decay * sum of 0.5 * w**2 joins the loss), decoupled with
            "adamw".
        label_smoothing: Share of each label that is spread evenly over all classes.
        dropout: Dropout rate before the classifier. None: the variant's, or 0.2.
        drop_connect: Final rate of stochastic depth; it rises linearly with depth.
        ema_decay: Decay per step of the moving average of the weights.
        strategy: Distribution strategy. "auto" chooses by the devices.
        start_timeout: Seconds that workers wait for each other at the start.
        heartbeat_timeout: Seconds of silence after which a worker counts as lost.
        precision: Keras dtype policy of training and validation. The final model is
            float32.
        sync_batch_norm: Whether BatchNorm computes its statistics over all replicas.
        bn_group_size: Number of replicas that share BatchNorm's statistics; with 1,
            each has its own. None: the original's rule, 1 for up to 8 replicas, else
            groups of 8, or of an eighth of the replicas if that is more.
        remat: Stages whose activations are recomputed in the backward pass to save
            memory (gradient checkpointing), such as "1,2,3", or "all". None: none.
        seed: Seed of weights, data order, augmentation and dropout.
        checkpoint_every_steps: Steps between checkpoints. None: at the end of each
            epoch only.
        keep_checkpoints: Number of latest checkpoints to keep.
        export_samples: Maximum number of training images to copy into the run folder
            for calibrating int8 exports.
    """

    recipe: str | None = None

    # Model
    model: str = "EfficientNetB0"
    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    stages: str | None = None
    stem_filters: int = STEM_FILTERS
    head_filters: int = HEAD_FILTERS
    normalization: str | None = None
    padding: str | None = None
    bn_momentum: float = 0.99
    bn_epsilon: float | None = None

    # Weights
    weights: str | None = None
    head_only_epochs: float = 0.0
    unfreeze_from_stage: int | None = None
    freeze_batch_norm: bool = False

    # Data
    data: str | None = None
    data_dir: str | None = None
    image_size: int | None = None
    crop_ratio: float | None = None
    interpolation: str = "bicubic_legacy"
    minival: int = 0
    pseudo_labels: str | None = None
    on_bad_image: str = "raise"
    sampling: str | None = None

    # Augmentation
    augment: str = "crop_flip"
    augment_compat: str = "exact"
    randaugment_layers: int = 2
    randaugment_magnitude: float = 10.0
    random_erasing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    adversarial_epsilon: float = 0.0
    adversarial_steps: int = 1

    # Optimisation
    batch_size: int = 256
    grad_accum_steps: int = 1
    optimizer: str = "rmsprop"
    lr_per_256: float = 0.016
    clip_norm: float | None = None

    # Schedule
    epochs: float = 350.0
    schedule: str = "exponential"
    warmup_epochs: float = 5.0
    decay_epochs: float = 2.4
    patience_epochs: float | None = None
    progressive_sizes: str | None = None

    # Loss
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: str | None = None
    logit_adjustment: float = 0.0

    # Regularisation
    weight_decay: float = 1e-5
    label_smoothing: float = 0.1
    dropout: float | None = None
    drop_connect: float = 0.2
    ema_decay: float = 0.9999

    # Devices
    strategy: str = "auto"
    start_timeout: float = 300.0
    heartbeat_timeout: float = 100.0
    precision: str = "float32"
    sync_batch_norm: bool = False
    bn_group_size: int | None = None
    remat: str | None = None
    seed: int = 0

    # Checkpoints
    checkpoint_every_steps: int | None = None
    keep_checkpoints: int = 3
    export_samples: int = 200

    @property
    def variant(self) -> str:
        """Factory name of the model, or "EfficientNet"."""
        is_general = self.model.lower() == ANY_SCALING.lower()
        return ANY_SCALING if is_general else find_variant(self.model)

    @property
    def source_name(self) -> str:
        """Name of the data source.

        Raises:
            ValueError: `data` is not given.
        """
        if not self.data:
            raise ValueError(
                "`data` must be given, such as 'folder:DIR'. "
                f"Received: data={self.data!r}"
            )
        return self.data

    @property
    def stage_table(self) -> tuple[Stage, ...]:
        """Baseline stage table.

        Raises:
            ValueError: `stages` is not a stage table.
        """
        return read_stages(self.stages) if self.stages else STAGES

    @property
    def resolution(self) -> int:
        """Side of the network's input in pixels."""
        if self.image_size is not None:
            return self.image_size
        return VARIANTS[self.variant].resolution

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the training images in pixels, each for an equal share of epochs."""
        listed = config_checks.items(self.progressive_sizes)
        return tuple(int(size) for size in listed) or (self.resolution,)

    @property
    def remat_stages(self) -> tuple[int, ...]:
        """Stages whose activations are recomputed, counted from 1."""
        if self.remat == "all":
            return tuple(range(1, len(self.stage_table) + 1))
        return tuple(int(stage) for stage in config_checks.items(self.remat))

    @property
    def preprocessing(self) -> EvalPreprocessing:
        """Preprocessing of evaluation images."""
        ratio = self.crop_ratio
        if ratio is None and self.weights in known_families():
            record = weights_info(self.variant, str(self.weights))
            ratio = record.preprocessing.crop_ratio
        if ratio is None:
            ratio = default_crop_ratio(self.resolution)
        return EvalPreprocessing(self.resolution, ratio, self.interpolation)

    @property
    def peak_lr(self) -> float:
        """Learning rate at the end of the warmup, before any decay."""
        return self.lr_per_256 * self.batch_size / 256

    def steps_per_epoch(self, images: int) -> float:
        """Returns the number of steps in a pass over `images`, usually a fraction."""
        return images / self.batch_size

    def total_steps(self, images: int) -> int:
        """Returns the number of steps of the run, at least 1."""
        return max(1, int(self.epochs * self.steps_per_epoch(images)))

    def validate(self) -> None:
        """Checks each field, and that the fields fit together.

        Raises:
            ValueError: A field is out of its range; the message names the field.
        """
        config_checks.check(self, is_general=self.variant == ANY_SCALING)

    def self_contained(self) -> Self:
        """Returns a copy with the contents of files in place of their paths."""
        stages, weights = self.stages, self.class_weights
        return dataclasses.replace(
            self,
            stages=stages and format_stages(self.stage_table),
            class_weights=weights and class_balance.self_contained(weights),
        )

    def to_json(self) -> str:
        """Returns the fields as JSON text, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads the JSON form that `to_json` writes.

        Args:
            text: JSON object; missing fields take their defaults.

        Raises:
            ValueError: A key is not a field; the message names the nearest one.
        """
        fields = json.loads(text)
        for name in fields:
            check_field(name)
        return cls(**fields)


def recipe_files() -> list[pathlib.Path]:
    """Lists the files of the recipes of this package."""
    return sorted(RECIPES.glob("[!_]*.py"))


def load(recipe: str) -> TrainConfig:
    """Runs a recipe's `get_config`.

    Args:
        recipe: "NAME[:ARG]" for a recipe of this package ("digits"), or
            "PATH.py[:ARG]" for any file. ARG is passed to `get_config`.

    Returns:
        The configuration, not validated: flags may still override it.

    Raises:
        ValueError: There is no such recipe.
        TypeError: `get_config` returns something else.
    """
    name, _, argument = recipe.partition(":")
    path = pathlib.Path(name) if name.endswith(".py") else RECIPES / f"{name}.py"
    if not path.is_file():
        names = [path.stem for path in recipe_files()]
        raise ValueError(
            "A recipe must be the path of a .py file or one of "
            f"{', '.join(names)}.{did_you_mean(name, names)} Received: {recipe!r}"
        )
    config = _run(path).get_config(*([argument] if argument else []))
    if not isinstance(config, TrainConfig):
        raise TypeError(
            f"`get_config` of {path} must return a TrainConfig. Received: {config!r}"
        )
    return dataclasses.replace(config, recipe=recipe)


def check_field(name: str) -> None:
    """Checks that `name` is a field of `TrainConfig`.

    Raises:
        ValueError: It is not; the message names the nearest ones.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    config_names.check_field(name, names)


def _run(path: pathlib.Path) -> Any:
    # Under this name `from ..config import TrainConfig` works in a recipe wherever
    # the file lies, and whether this package is `training` or is installed as
    # `keras_efficientnet.training`.
    name = f"{__package__}.configs.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"A recipe must be a Python file. Received: {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
