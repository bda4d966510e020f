"""Fine-tuning from Python."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_efficientnet.architecture import find_variant
from keras_efficientnet.common.image_csv import is_image_csv, rarest_labels
from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.common.models import open_model
from keras_efficientnet.common.recursion_limit import raised_recursion_limit
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.weights import network_options

from .config import TrainConfig
from .configs import finetune
from .data import sources
from .engine import trainer
from .metrics.metrics import Scores
from .metrics.multi_label import MultiLabelScores
from .reporting.run_folder import RunFolder

HELD_OUT = 0.2  # share of the images for validation, if none are given


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """Result of fine-tuning.

    Attributes:
        model: Model from images, 0 to 255, to calibrated probabilities, (batch,
            classes), as prediction and export open it. The `model.keras` of the run is
            not calibrated.
        class_names: Class names in the order of the probabilities.
        scores: Scores of the model on `split`.
        split: Scored split, "test" if there is one, else "validation".
        preprocessing: Preprocessing of the model's images.
        workdir: Folder of the run, with its report and everything that exports need.
        reject_threshold: Lowest accepted probability of the top prediction, with
            `reject_precision`; None: all predictions are accepted.
        thresholds: Threshold of each class of a multi-label model: an image has all
            labels whose probability reaches theirs. None: one label per image.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    scores: Scores
    split: str
    preprocessing: EvalPreprocessing
    workdir: pathlib.Path
    reject_threshold: float | None = None
    thresholds: tuple[float, ...] | None = None


@raised_recursion_limit()
def fine_tune(
    model: str | keras.Model,
    train: Any,
    validation: Any = None,
    *,
    workdir: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    config: TrainConfig | None = None,
    show: bool = True,
) -> FineTuned:
    """Trains a new classifier on a trained network, then its last stages too.

    Call it again with the same folder to resume an interrupted run or to open a
    finished one.

    Args:
        model: Name of a variant ("EfficientNetLite0"), which starts from the weights of
            `config`; or a trained model of this package, which starts from its own.
        train: Folder with one subfolder per class, such as "photos"; a CSV file of
            images, such as "photos.csv", for which see docs/data.md; images and labels:
            (images, height, width, 3) uint8, 0 to 255, and (images,) integers from 0,
            or (images, classes), 1 and 0, with several labels per image; or a
            `sources.Source`, which has its own validation.
        validation: Validation images in the same form. None: a part of `train` is held
            out by a fixed rule.
        workdir: Folder of the run.
        class_names: Class names for arrays, in index order. None: "class 0" and so on.
        config: Training configuration, whose `model` and `data` are filled in. None:
            the recipe "finetune" for a few hundred images, with any variant. With
            several labels per image, its `task` must be "multi_label".
        show: Whether to show progress on standard error.

    Raises:
        TypeError: `train` or `validation` has another type, such as a tf.data.Dataset.
        ValueError: The images or a field of `config` are not usable, or `workdir`
            holds another run.
        RuntimeError: Training was interrupted; call again to resume.
    """
    config = config or finetune.get_config()
    source = _source(train, validation, class_names, config.is_multi_label)
    folder = RunFolder(pathlib.Path(workdir))
    run_config = _config(model, config, folder)
    summary = trainer.train(run_config, folder.root, source, show=show)
    if summary is None:
        raise RuntimeError(
            f"Training in {folder.root} was interrupted; call again to resume"
        )
    opened = open_model(folder.root)
    return FineTuned(
        model=opened.model,
        class_names=folder.read_labels(),
        scores=_scores(summary),
        split=summary["final_split"],
        preprocessing=opened.preprocessing,
        workdir=folder.root,
        reject_threshold=opened.reject_threshold,
        thresholds=opened.thresholds,
    )


def _scores(summary: dict[str, Any]) -> Scores:
    kind = MultiLabelScores if "final_map" in summary else Scores
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: summary[f"final_{name}"] for name in names})


def _config(
    model: str | keras.Model, config: TrainConfig, folder: RunFolder
) -> TrainConfig:
    """Returns `config` for a model, and saves the weights of a given model."""
    if isinstance(model, str):
        return dataclasses.replace(config, model=model)
    try:
        variant = find_variant(model.name)
    except ValueError as error:
        raise ValueError(
            "`model` must be the name of a variant, or a model that its factory built "
            f"and that is named after it. {error}"
        ) from error
    options = network_options(model)
    if options["normalization"] == "another" or model.input_shape[-1] != 3:
        raise ValueError(
            "`model` must take RGB images and normalise them as one of its factory's "
            f"options does. Received: images of {model.input_shape[-1]} channels, "
            f"normalization={options['normalization']!r}"
        )
    start = folder.root / "start.weights.h5"
    if not folder.has_begun:  # a resumed run has started from these weights
        folder.root.mkdir(parents=True, exist_ok=True)
        model.save_weights(start)
    return dataclasses.replace(
        config,
        model=variant,
        weights=str(start),
        image_size=config.image_size or model.input_shape[1],
        **options,
    )


def _source(
    train: Any,
    validation: Any,
    class_names: Sequence[str] | None,
    multi_label: bool = False,
) -> sources.Source:
    source = _open(train, validation, class_names, multi_label)
    if class_names is not None and source.class_names != _strings(class_names):
        raise ValueError(
            "`class_names` must match those of `train`: "
            f"{shorten(source.class_names)}. Received: class_names="
            f"{shorten(_strings(class_names))}"
        )
    return source


def _open(
    train: Any, validation: Any, class_names: Sequence[str] | None, multi_label: bool
) -> sources.Source:
    if isinstance(train, sources.Source):
        if validation is not None:
            raise ValueError("`validation` must be None: a Source has its own splits")
        return train
    if isinstance(train, str | os.PathLike):
        is_csv = is_image_csv(train) and not os.path.isdir(train)
        if is_csv and validation is not None:
            raise ValueError(
                "`validation` must be None where `train` is a CSV file, whose "
                f"`split` column marks them. Received: validation={validation!r}"
            )
        if validation is None:
            kind = "csv" if is_csv else "folder"
            return sources.load(f"{kind}:{os.fspath(train)}", multi_label=multi_label)
        if not isinstance(validation, str | os.PathLike):
            raise TypeError(
                "`validation` must be a folder or None where `train` is a folder. "
                f"Received: validation of type {type(validation).__name__}"
            )
        return sources.folders({"train": train, "validation": validation})
    images, labels = _images_and_labels("train", train, multi_label)
    if validation is None:
        keys = [str(i) for i in range(len(labels))]
        shares = {"train": 1 - HELD_OUT, "validation": HELD_OUT}
        strata = rarest_labels(labels) if multi_label else labels
        parts = sources.stratify(keys, strata, shares, keep_small=multi_label)
        splits = {name: (images[at], labels[at]) for name, at in parts.items()}
    else:
        pair = _images_and_labels("validation", validation, multi_label)
        splits = {"train": (images, labels), "validation": pair}
    if class_names is None:
        classes = labels.shape[1] if multi_label else int(labels.max()) + 1
        class_names = [f"class {i}" for i in range(classes)]
    return sources.arrays(splits, _strings(class_names))


def _images_and_labels(
    name: str, value: Any, multi_label: bool
) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(
            f"`{name}` must be a folder, a CSV file, a Source, or two arrays, images "
            "and labels. To turn a tf.data.Dataset into arrays: images, labels = "
            "map(np.stack, zip(*dataset.unbatch().as_numpy_iterator())). "
            f"Received: {name} of type {type(value).__name__}"
        )
    images, labels = (np.asarray(part) for part in value)
    if multi_label:
        if labels.ndim != 2 or len(labels) != len(images):
            raise ValueError(
                f"`{name}` must have a row of 1 and 0 per image as its labels, "
                "(images, classes), with task='multi_label'. Received: images of shape "
                f"{images.shape}, labels of shape {labels.shape}"
            )
        return images, labels
    if labels.shape == (len(images), 1):  # as keras.datasets have them
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` must have one integer per image as its label. Received: images "
            f"of shape {images.shape}, labels of shape {labels.shape}, {labels.dtype}"
        )
    return images, labels


def _strings(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names as Python strings."""
    return tuple(str(name) for name in names)
