"""Training configuration and its JSON form."""

import dataclasses
import json
from typing import Self

from keras_efficientnet import VARIANTS, weights_info
from keras_efficientnet.architecture import find_variant
from keras_efficientnet.preprocessing import EvalPreprocessing, default_crop_ratio
from keras_efficientnet.stages import STAGES, Stage, format_stages, read_stages
from keras_efficientnet.weights.registry.table import known_families

from ..data import class_balance
from . import checks, names
from .data_fields import DataFields
from .model_fields import ModelFields
from .optimization_fields import OptimizationFields
from .run_fields import RunFields

ANY_SCALING = "EfficientNet"


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
        listed = checks.items(self.progressive_sizes)
        return tuple(int(size) for size in listed) or (self.resolution,)

    @property
    def remat_stages(self) -> tuple[int, ...]:
        """Stages whose activations are recomputed, counted from 1."""
        if self.remat == "all":
            return tuple(range(1, len(self.stage_table) + 1))
        return tuple(int(stage) for stage in checks.items(self.remat))

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
