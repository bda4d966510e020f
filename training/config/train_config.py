"""Training configuration and its JSON form."""

import dataclasses
import json
from typing import Self

from keras_efficientnet import VARIANTS, weights_info
from keras_efficientnet.architecture import (
    Variant,
    checked_family,
    find_variant,
    scaled_variant,
)
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.stages import Stage, format_stages, read_stages
from keras_efficientnet.weights.registry.table import is_published

from ..data import class_balance
from . import checks, names, progressive
from .data_fields import DataFields
from .model_fields import ModelFields
from .optimization_fields import OptimizationFields
from .run_fields import RunFields

ANY_SCALING = "EfficientNet"
DEFAULT_DROPOUT = 0.2  # of networks with custom scaling
# V2-S to XL have their own preprocessing: bilinear, and from this size on, in pixels,
# the entire image squashed to the square. Source: google/automl,
# efficientnetv2/preprocessing.py.
AUTOML_NORMALIZATION = "inception128"
AUTOML_UNCROPPED_SIZE = 320


@dataclasses.dataclass
class TrainConfig(RunFields, OptimizationFields, DataFields, ModelFields):
    """Training configuration: everything that decides the outcome of a run.

    For fields that may be None, the text says what None means. `checks.CHOICES` lists
    the values of fields with a fixed set of them. The fields stand in the base classes,
    model fields first.

    The class is not frozen, so that command-line flags can override fields; values
    derived from fields are properties, so that no override leaves them stale. The
    flags need real field types: no `from __future__ import annotations` here.
    """

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
    def is_multi_label(self) -> bool:
        """Whether an image may have any number of labels."""
        return self.task == checks.MULTI_LABEL

    @property
    def stage_table(self) -> tuple[Stage, ...]:
        """Baseline stage table.

        Raises:
            ValueError: `stages` is not a stage table.
        """
        if self.stages:
            return read_stages(self.stages)
        if self.variant != ANY_SCALING:
            return VARIANTS[self.variant].stages
        return self._scaled().stages

    @property
    def architecture(self) -> Variant:
        """Architecture of the network, with the run's dropout."""
        if self.variant == ANY_SCALING:
            row = dataclasses.replace(
                self._scaled(),
                stages=self.stage_table,
                base_stem=self.stem_filters,
                base_head=self.head_filters,
            )
        else:
            row = VARIANTS[self.variant]
        dropout = row.dropout if self.dropout is None else self.dropout
        return dataclasses.replace(row, dropout=dropout)

    def _scaled(self) -> Variant:
        family = checked_family(self.family, self.lite)
        size = self.image_size or 0  # `validate` requires it
        return scaled_variant(family, self.width, self.depth, size, DEFAULT_DROPOUT)

    @property
    def resolution(self) -> int:
        """Side of the network's input in pixels."""
        if self.image_size is not None:
            return self.image_size
        return VARIANTS[self.variant].resolution

    @property
    def final_train_size(self) -> int:
        """Side of the training images at the end of the run in pixels."""
        if self.train_size is not None:
            return self.train_size
        if self.image_size is None and self.weights is None:
            return progressive.TRAIN_SIZES.get(self.variant, self.resolution)
        return self.resolution

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the training images of each phase in pixels."""
        listed = checks.items(self.progressive_sizes)
        if listed:
            return tuple(int(size) for size in listed)
        if not self.progressive_schedule:
            return (self.final_train_size,)
        return progressive.image_sizes(
            self.progressive_schedule,
            self.progressive_stages,
            self.progressive_start_size,
            self.final_train_size,
        )

    @property
    def remat_stages(self) -> tuple[int, ...]:
        """Stages whose activations are recomputed, counted from 1."""
        if self.remat == "all":
            return tuple(range(1, len(self.stage_table) + 1))
        return tuple(int(stage) for stage in checks.items(self.remat))

    @property
    def preprocessing(self) -> EvalPreprocessing:
        """Preprocessing of evaluation images."""
        published = self._published_preprocessing
        if self.crop_ratio is None:
            ratio, mode = published.crop_ratio, published.crop_mode
        else:
            ratio, mode = self.crop_ratio, "center"
        interpolation = self.interpolation or published.interpolation
        return EvalPreprocessing(self.resolution, ratio, interpolation, mode)

    @property
    def _published_preprocessing(self) -> EvalPreprocessing:
        """Preprocessing of the initial weights or, without any, of the variant."""
        if is_published(self.weights) and self.variant != ANY_SCALING:
            return weights_info(self.variant, str(self.weights)).preprocessing
        size = self.resolution
        if self.architecture.normalization != AUTOML_NORMALIZATION:
            return EvalPreprocessing(size)
        if size < AUTOML_UNCROPPED_SIZE:
            return EvalPreprocessing(size, interpolation="bilinear_no_antialias")
        return EvalPreprocessing(size, 1.0, "bilinear_no_antialias", "squash")

    @property
    def peak_lr(self) -> float:
        """Learning rate at the end of the warmup, before any decay."""
        return self.lr_per_256 * self.batch_size / 256

    def steps_per_epoch(self, images: int) -> float:
        """Returns the number of steps in a pass over `images`, usually a fraction."""
        return images / self.batch_size

    def total_steps(self, images: int) -> int:
        """Returns the number of steps of the run, at least 1."""
        steps = int(self.epochs * self.steps_per_epoch(images))
        return max(1, self.min_steps, steps)

    def epochs_over(self, images: int) -> float:
        """Returns the number of passes over `images`, which `min_steps` may add to."""
        return max(self.epochs, self.min_steps / self.steps_per_epoch(images))

    def validate(self) -> None:
        """Checks each field, and that the fields fit together.

        Raises:
            ValueError: A field is out of its range; the message names the field.
        """
        checks.check(self, is_general=self.variant == ANY_SCALING)

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


def check_field(name: str) -> None:
    """Checks that `name` is a field of `TrainConfig`.

    Raises:
        ValueError: It is not; the message names the nearest ones.
    """
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    names.check_field(name, known)
