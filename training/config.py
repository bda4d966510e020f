"""What a training run is told, and how that is written down."""

import dataclasses
import importlib.util
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any, Self

from keras_efficientnet import VARIANTS
from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.choices import check_choice, did_you_mean
from keras_efficientnet.preprocessing import (
    NORMALIZATIONS,
    RESIZE_METHODS,
    EvalPreprocessing,
)
from keras_efficientnet.stages import (
    HEAD_FILTERS,
    STAGES,
    STEM_FILTERS,
    Stage,
    format_stages,
    read_stages,
    smallest_image,
)

from .augment.transforms import AUGMENTATIONS, QUIRKS
from .engine.distribution import STRATEGIES
from .optim.optimizers import OPTIMIZERS
from .optim.schedules import SCHEDULES

ANY_SCALING = "EfficientNet"
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
RECIPES = pathlib.Path(__file__).parent / "configs"


@dataclasses.dataclass
class TrainConfig:
    """Everything that decides the outcome of a run, and where its parts come from.

    Not frozen, so that command-line flags can override fields; what follows from
    the fields is a property, so that no override leaves it stale. The flags also
    need the field types as they are: no `from __future__ import annotations` here.

    Attributes:
        model: A variant ("EfficientNetB0", "lite0"), or "EfficientNet" together
            with `width`, `depth` and `lite`.
        width: Channels, a ratio to B0's; with "EfficientNet" only.
        depth: Blocks, a ratio to B0's; with "EfficientNet" only.
        lite: ReLU6 and no squeeze-excite; with "EfficientNet" only.
        weights: What training starts from: a published family or a path; empty:
            random weights.
        data: "digits", "fashion_mnist", "idx:DIR", "folder:DIR",
            "tfds:NAME[:VERSION]" or "tfrecord:GLOB".
        data_dir: Where TFDS keeps its data sets; empty: its default.
        minival: Training images held out by a fixed rule; epochs are then validated
            on them, and the real validation images are scored once, at the end.
        on_bad_image: "raise" or "skip" an image that cannot be decoded.
        pseudo_labels: File that `training.pseudo_label` wrote: images with a
            teacher's probabilities, to be trained on as well; empty: none.
        image_size: Side of the network's input, pixels; 0: the variant's.
        crop_padding: Of evaluation's central crop, pixels; see `EvalPreprocessing`.
        resize: Resize method, as for `EvalPreprocessing`.
        batch_size: Images per step, over all replicas.
        epochs: Passes over the training images; may be fractional.
        lr_per_256: Learning rate for a batch of 256 images; it grows linearly with
            the batch.
        warmup_epochs: Linear rise of the learning rate, counted inside `epochs`.
        schedule: Key of `schedule.SCHEDULES`.
        decay_epochs: Length of a stair of the "exponential" schedule.
        patience_epochs: Ends the run when validation has not improved for so long;
            0: never.
        optimizer: Key of `optimizer.OPTIMIZERS`.
        weight_decay: Coupled with "rmsprop" and "sgd": weight_decay * sum of
            0.5 * w**2 joins the loss. Decoupled with "adamw". BatchNorm has none.
        clip_norm: Largest global norm of the gradients; 0: not clipped.
        accumulate: Parts that a replica's share of a batch is computed in, one after
            the other, to save memory; the gradients are added up.
        label_smoothing: Share of each label spread evenly over all classes.
        ema_decay: Of the weights' moving average, per step.
        augment: Key of `augment.AUGMENTATIONS`.
        augment_quirks: "exact" repeats the original implementation's slips, "fixed"
            does what was meant.
        randaugment_layers: Operations per image, N of the paper.
        randaugment_magnitude: Their strength, M of the paper; 10 is the nominal end.
        random_erasing: Probability that a rectangle of an image is erased.
        mixup_alpha: Of MixUp's Beta distribution; 0: no MixUp.
        cutmix_alpha: Of CutMix's Beta distribution; 0: no CutMix. With both, each
            batch takes one of them.
        adversarial_epsilon: Of AdvProp's attacker, in pixel values; 0: no AdvProp.
        adversarial_steps: Of the attacker.
        progressive_sizes: Image sizes for equal shares of the epochs, such as
            "128,176,224"; empty: `image_size` throughout.
        head_epochs: First epochs, in which the new classifier alone is trained.
        train_from_stage: After them, the first stage of the network that is trained,
            1 to 7; 0: everything.
        freeze_batch_norm: Whether BatchNorm uses and keeps its moving statistics.
        normalization: Of the pixels, key of `NORMALIZATIONS`; empty: the variant's.
        padding: "same", TensorFlow's, or "symmetric", PyTorch's; empty: that of the
            published weights, or "same".
        bn_epsilon: Of BatchNorm; 0: that of the published weights, or 0.001.
        dropout: Rate before the classifier; None: the variant's, or 0.2.
        drop_connect: Rate that stochastic depth rises to.
        bn_momentum: Of BatchNorm's moving statistics; a run of a few hundred steps
            needs less than 0.99 for them to catch up.
        sync_batch_norm: Whether BatchNorm takes its statistics over all replicas.
        remat: Stages, such as "1,2,3" or "all", whose activations are computed again
            in the backward pass instead of being kept.
        precision: Keras dtype policy of training; evaluation uses the same, the
            final model is float32.
        strategy: Key of `strategy.STRATEGIES`.
        seed: Of weights, order, augmentation and dropout.
        checkpoint_every_steps: Steps between checkpoints; 0: at epoch ends only.
        keep_checkpoints: How many of the latest checkpoints stay on disk.
        export_samples: Most training images copied into the run folder for the
            calibration of int8 exports.
    """

    model: str = "EfficientNetB0"
    width: float = 1.0
    depth: float = 1.0
    lite: bool = False
    stages: str = ""
    stem_filters: int = STEM_FILTERS
    head_filters: int = HEAD_FILTERS
    weights: str = ""
    data: str = ""
    data_dir: str = ""
    minival: int = 0
    on_bad_image: str = "raise"
    pseudo_labels: str = ""
    image_size: int = 0
    crop_padding: int = 32
    resize: str = "bicubic_legacy"
    batch_size: int = 256
    epochs: float = 350.0
    lr_per_256: float = 0.016
    warmup_epochs: float = 5.0
    schedule: str = "exponential"
    decay_epochs: float = 2.4
    patience_epochs: float = 0.0
    optimizer: str = "rmsprop"
    weight_decay: float = 1e-5
    clip_norm: float = 0.0
    accumulate: int = 1
    label_smoothing: float = 0.1
    ema_decay: float = 0.9999
    augment: str = "crop_flip"
    augment_quirks: str = "exact"
    randaugment_layers: int = 2
    randaugment_magnitude: float = 10.0
    random_erasing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    adversarial_epsilon: float = 0.0
    adversarial_steps: int = 1
    progressive_sizes: str = ""
    head_epochs: float = 0.0
    train_from_stage: int = 0
    freeze_batch_norm: bool = False
    normalization: str = ""
    padding: str = ""
    bn_epsilon: float = 0.0
    dropout: float | None = None
    drop_connect: float = 0.2
    bn_momentum: float = 0.99
    sync_batch_norm: bool = False
    remat: str = ""
    precision: str = "float32"
    strategy: str = "auto"
    seed: int = 0
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 3
    export_samples: int = 200

    @property
    def variant(self) -> str:
        """Factory name of the model, or "EfficientNet"."""
        is_general = self.model.lower() == ANY_SCALING.lower()
        return ANY_SCALING if is_general else find_variant(self.model)

    @property
    def stage_table(self) -> tuple[Stage, ...]:
        """Rows of the network before it is scaled.

        Raises:
            ValueError: `stages` is no stage table.
        """
        return read_stages(self.stages) if self.stages else STAGES

    @property
    def resolution(self) -> int:
        """Side of the network's input, pixels."""
        if self.image_size:
            return self.image_size
        return VARIANTS[self.variant].resolution

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the training images, pixels, each for an equal share of epochs."""
        listed = tuple(int(size) for size in _items(self.progressive_sizes))
        return listed or (self.resolution,)

    @property
    def remat_stages(self) -> tuple[int, ...]:
        """Stages whose activations are not kept, 1 to 7."""
        if self.remat == "all":
            return tuple(range(1, 8))
        return tuple(int(stage) for stage in _items(self.remat))

    @property
    def preprocessing(self) -> EvalPreprocessing:
        """How evaluation prepares an image."""
        return EvalPreprocessing(self.resolution, self.crop_padding, self.resize)

    @property
    def peak_lr(self) -> float:
        """Learning rate at the end of the warmup, before any decay."""
        return self.lr_per_256 * self.batch_size / 256

    def steps_per_epoch(self, images: int) -> float:
        """Returns the steps of one pass over `images`, a fraction as a rule."""
        return images / self.batch_size

    def total_steps(self, images: int) -> int:
        """Returns the steps of the whole run, at least 1."""
        return max(1, int(self.epochs * self.steps_per_epoch(images)))

    def validate(self) -> None:
        """Checks each field, and that the fields go together.

        Raises:
            ValueError: A field is out of its range; the message names it.
        """
        least = smallest_image(self.stage_table)
        if self.variant == ANY_SCALING:
            for name in ("width", "depth", "stem_filters", "head_filters"):
                value = getattr(self, name)
                _check(value > 0, "be above 0", **{name: value})
            rule = f"be at least {least} pixels with 'EfficientNet'"
            _check(self.image_size >= least, rule, image_size=self.image_size)
        else:
            for name in _ANY_SCALING_ONLY:
                value, neutral = getattr(self, name), getattr(TrainConfig, name)
                rule = f"stay {neutral!r} unless `model` is 'EfficientNet'"
                _check(value == neutral, rule, **{name: value})
            rule = f"be 0 (the variant's) or at least {least} pixels"
            ok = self.image_size == 0 or self.image_size >= least
            _check(ok, rule, image_size=self.image_size)
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            _check(value >= 1, "be at least 1", **{name: value})
        for name in ("epochs", "lr_per_256", "decay_epochs"):
            value = getattr(self, name)
            ok = value > 0 and math.isfinite(value)
            _check(ok, "be a finite number above 0", **{name: value})
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            ok = value >= 0 and math.isfinite(value)
            _check(ok, "be at least 0", **{name: value})
        for name in _UNDER_ONE:
            value = getattr(self, name)
            ok = value is None or 0 <= value < 1
            _check(ok, "be at least 0 and under 1", **{name: value})
        ok = 0 <= self.random_erasing <= 1
        _check(ok, "be 0 to 1", random_erasing=self.random_erasing)
        ok = 0 <= self.train_from_stage <= 7
        _check(ok, "be 0 to 7", train_from_stage=self.train_from_stage)
        self._check_lists(least)

    def _check_lists(self, least: int) -> None:
        sizes, stages = _items(self.progressive_sizes), _items(self.remat)
        rule = f"be image sizes of at least {least} pixels, as in '128,224'"
        ok = all(_is_whole(size) and int(size) >= least for size in sizes)
        _check(ok, rule, progressive_sizes=self.progressive_sizes)
        ok = self.remat == "all" or all(s in {*"1234567"} for s in stages)
        _check(ok, "be 'all' or stages 1 to 7, as in '1,2,3'", remat=self.remat)

    def self_contained(self) -> Self:
        """Returns the same with the stage table itself in place of a file's path."""
        stages = format_stages(self.stage_table) if self.stages else ""
        return dataclasses.replace(self, stages=stages)

    def to_json(self) -> str:
        """Returns the fields as JSON text, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote.

        Args:
            text: A JSON object; fields that it lacks take their defaults.

        Raises:
            ValueError: A key is not a field; the message names the nearest.
        """
        fields = json.loads(text)
        for name in fields:
            check_field(name)
        return cls(**fields)


def _items(listed: str) -> list[str]:
    return [item.strip() for item in listed.split(",")] if listed else []


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


_CHOICES: dict[str, Iterable[str]] = {
    "on_bad_image": ("raise", "skip"),
    "resize": RESIZE_METHODS,
    "normalization": ("", *NORMALIZATIONS),
    "padding": ("", "same", "symmetric"),
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
    "augment": AUGMENTATIONS,
    "augment_quirks": QUIRKS,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
}
_ANY_SCALING_ONLY = (
    "width",
    "depth",
    "lite",
    "stages",
    "stem_filters",
    "head_filters",
)
_UNDER_ONE = ("label_smoothing", "ema_decay", "drop_connect", "bn_momentum", "dropout")
_AT_LEAST_ONE = (
    "batch_size",
    "keep_checkpoints",
    "accumulate",
    "randaugment_layers",
    "adversarial_steps",
)
_NOT_NEGATIVE = (
    "crop_padding",
    "minival",
    "patience_epochs",
    "clip_norm",
    "randaugment_magnitude",
    "mixup_alpha",
    "cutmix_alpha",
    "adversarial_epsilon",
    "head_epochs",
    "warmup_epochs",
    "weight_decay",
    "bn_epsilon",
    "seed",
    "checkpoint_every_steps",
    "export_samples",
)


def load(recipe: str) -> TrainConfig:
    """Runs a recipe's `get_config`.

    Args:
        recipe: "NAME[:ARG]" for a recipe of this package ("digits"), or
            "PATH.py[:ARG]" for any file. ARG is passed to `get_config`.

    Returns:
        The configuration, not validated yet: flags may still change it.

    Raises:
        ValueError: There is no such recipe.
        TypeError: `get_config` returns something else.
    """
    name, _, argument = recipe.partition(":")
    path = pathlib.Path(name) if name.endswith(".py") else RECIPES / f"{name}.py"
    if not path.is_file():
        names = [p.stem for p in sorted(RECIPES.glob("[!_]*.py"))]
        raise ValueError(
            "A recipe must be the path of a .py file or one of "
            f"{', '.join(names)}.{did_you_mean(name, names)} Received: {recipe!r}"
        )
    config = _run(path).get_config(*([argument] if argument else []))
    if not isinstance(config, TrainConfig):
        raise TypeError(
            f"`get_config` of {path} must return a TrainConfig. Received: {config!r}"
        )
    return config


def check_field(name: str) -> None:
    """Checks that `name` is a field of `TrainConfig`.

    Raises:
        ValueError: It is not; the message names the nearest.
    """
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    if name not in names:
        raise ValueError(
            f"A config field must be one of {', '.join(names)}."
            f"{did_you_mean(name, names)} Received: {name!r}"
        )


def _check(holds: bool, rule: str, **field: Any) -> None:
    if not holds:
        ((name, value),) = field.items()
        raise ValueError(f"`{name}` must {rule}. Received: {name}={value!r}")


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
