"""Run folder: the files of a training run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import operator
import pathlib
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from keras_efficientnet.calibration.record import CALIBRATION_FILE
from keras_efficientnet.common import sidecars
from keras_efficientnet.common.files import write_csv, write_text
from keras_efficientnet.common.image_classes import choose_balanced
from keras_efficientnet.common.image_folders import shorten
from keras_efficientnet.common.scoring.multi_label import label_names
from keras_efficientnet.preprocessing import EvalPreprocessing, tf_ops
from keras_efficientnet.weights import published

from ..config import TrainConfig
from ..config.checks import settings
from ..data.decode_errors import UnreadableImagesError
from ..data.sources import Source, Split

VERIFICATION_SAMPLES = 1000  # images at most, for comparing exports
# Fields that a resumed run may change, because they do not affect its outcome.
_MAY_CHANGE = ("start_timeout", "heartbeat_timeout")
_PACKAGES = ("keras", "tensorflow", "tensorflow_cpu", "numpy", "ml_collections")


@dataclasses.dataclass(frozen=True)
class BadImageRecord:
    """Images that could not be decoded so far, with on_bad_image='skip'.

    Attributes:
        trained: Positions of training images.
        evaluated: Names of images of other splits.
    """

    trained: tuple[int, ...] = ()
    evaluated: tuple[str, ...] = ()


class RunFolder:
    """Folder of a training run.

    Exports need model.keras, labels.txt (a class name per line, in index order),
    preprocessing.json (the fields of `EvalPreprocessing`, and the thresholds of a
    multi-label model), and samples/calibration and samples/verification (raw images, a
    subfolder per class, or with a labels.csv where images have several labels).

    Args:
        root: Path of the folder, which need not exist yet.
    """

    def __init__(self, root: pathlib.Path | str) -> None:
        self.root = pathlib.Path(root).expanduser()
        self.config = self.root / "config.json"
        self.environment = self.root / "environment.txt"
        self.labels = self.root / sidecars.LABELS_FILE
        self.images = self.root / "images.json"
        self.preprocessing = self.root / sidecars.PREPROCESSING_FILE
        self.metrics = self.root / "metrics.csv"
        self.curves = self.root / "curves.png"
        self.predictions = self.root / "predictions.png"
        self.calibration = self.root / CALIBRATION_FILE
        self.calibration_plot = self.root / "calibration.png"
        self.per_class = self.root / "per_class.png"
        self.report = self.root / "report.md"
        self.summary = self.root / "summary.json"
        self.model = self.root / "model.keras"
        self.tensorboard = self.root / "tensorboard"
        self.samples = self.root / "samples"
        self.checkpoints = self.root / "checkpoints"
        self.lock = self.root / ".lock"
        self.best_weights = self.checkpoints / "best.weights.h5"

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds training steps."""
        return self.summary.is_file() or any(self.checkpoints.glob("step-*.npz"))

    def check_config(self, config: TrainConfig) -> None:
        """Checks that a run in this folder, if there is one, has this config.

        Raises:
            ValueError: The run has another config, and the message names the fields; or
                its config is missing.
        """
        if not self.has_begun:
            return
        if not self.config.is_file():
            raise ValueError(
                f"`workdir` must be new or hold a complete run; {self.root} holds a "
                f"run whose {self.config.name} is missing"
            )
        with _naming_damaged(self.config, "restore it, or start in another folder"):
            old = settings(TrainConfig.from_json(_read(self.config)))
        new = settings(config)
        changes = [
            f"{k}: {old[k]!r} -> {new[k]!r}"
            for k in new
            if old[k] != new[k] and k not in _MAY_CHANGE
        ]
        if changes:
            raise ValueError(
                f"`workdir` must be new or hold a run of the same config; {self.root} "
                f"holds one that differs in {'; '.join(changes)}"
            )

    def begin(
        self, config: TrainConfig, source: Source, teacher_digest: str | None = None
    ) -> None:
        """Writes the files that are known before the first step.

        Args:
            config: Configuration of the run.
            source: Images of the run.
            teacher_digest: Checksum of the teacher's weights; None without a teacher.

        Raises:
            ValueError: The folder holds a run with another config, other classes,
                other images or another teacher.
        """
        self.check_config(config)
        if teacher_digest and self.has_begun:
            self._check_teacher(teacher_digest)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        names, images = source.class_names, _describe_images(source)
        sidecars.check_labels(names, len(names), "`data`")
        if self.has_begun:
            if self.labels.is_file() and self.read_labels() != names:
                raise ValueError(
                    f"`data` must have the classes that {self.labels} lists, in the "
                    f"same order. Received: classes {shorten(names)}"
                )
            # Other images would change the data order and the held-out images.
            self._check_images(images)
        write_text(self.labels, sidecars.format_labels(names))
        _write_json(self.images, images)
        if teacher_digest:
            _write_json(
                self._teacher, {"teacher": config.teacher, "digest": teacher_digest}
            )
        spec = dataclasses.asdict(config.preprocessing)
        _write_json(self.preprocessing, spec)
        text = describe_environment() + _describe_weights(config)
        write_text(self.environment, text)
        # Last, because it marks the folder as used.
        write_text(self.config, config.to_json())

    def _check_images(self, images: dict[str, list[int | str]]) -> None:
        if not self.images.is_file():
            return
        with _naming_damaged(self.images, "delete it to resume without comparing"):
            before = json.loads(_read(self.images))
            changes = _describe_changes(before, images)
        if before != images:
            raise ValueError(
                f"`data` must have the images that {self.root} was started with. "
                f"Received: {changes}"
            )

    @property
    def _teacher(self) -> pathlib.Path:
        return self.root / "teacher.json"

    def _check_teacher(self, digest: str) -> None:
        if not self._teacher.is_file():
            return
        with _naming_damaged(self._teacher, "delete it to resume without comparing"):
            before = json.loads(_read(self._teacher))["digest"]
        if before != digest:
            raise ValueError(
                f"`teacher` must have the weights that {self.root} was started with. "
                f"Received: weights with digest {digest[:12]} instead of {before[:12]}"
            )

    def read_labels(self) -> tuple[str, ...]:
        """Returns the class names, in index order."""
        return sidecars.read_labels(self.labels)

    def read_preprocessing(self) -> EvalPreprocessing:
        """Returns the preprocessing of evaluation images."""
        with _naming_damaged(
            self.preprocessing, "the same training command repairs it"
        ):
            found = sidecars.read_sidecars(self.root).preprocessing
            return EvalPreprocessing(**found)

    def write_preprocessing(
        self, spec: EvalPreprocessing, activation: str, thresholds: Sequence[float]
    ) -> None:
        """Writes preprocessing.json with what a multi-label model gives.

        Args:
            spec: Preprocessing of evaluation images.
            activation: Activation of the model's outputs.
            thresholds: Threshold of each class.
        """
        text = sidecars.format_preprocessing(spec, activation, thresholds=thresholds)
        write_text(self.preprocessing, text)

    def read_summary(self) -> dict[str, Any] | None:
        """Returns the contents of summary.json; None while the run is not finished."""
        if not self.summary.is_file():
            return None
        with _naming_damaged(self.summary, "delete it to score the run again"):
            summary: dict[str, Any] = json.loads(_read(self.summary))
            float(summary["final_top1"])
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json, which marks the run as finished."""
        _write_json(self.summary, summary)

    def read_bad_images(self) -> BadImageRecord:
        """Returns the images that could not be decoded so far.

        A damaged file causes a warning only: just the report and the 1% limit need it.
        """
        if not self._bad_images.is_file():
            return BadImageRecord()
        try:
            found = json.loads(_read(self._bad_images))
            trained = tuple(map(operator.index, found["trained"]))
            return BadImageRecord(trained, tuple(map(str, found["evaluated"])))
        except (ValueError, TypeError, LookupError) as error:
            warnings.warn(
                f"{self._bad_images} is damaged ({error}); images that could not be "
                "decoded before are missing from the report",
                stacklevel=2,
            )
            return BadImageRecord()

    def write_bad_images(self, found: BadImageRecord) -> None:
        """Writes the images that could not be decoded, if there are any."""
        if found != BadImageRecord():
            _write_json(self._bad_images, dataclasses.asdict(found))

    @property
    def _bad_images(self) -> pathlib.Path:
        return self.checkpoints / "bad_images.json"

    def write_samples(
        self, source: Source, calibration: int, skip_bad_images: bool = False
    ) -> None:
        """Copies images for calibrating and verifying exports.

        Args:
            source: Images of the run.
            calibration: Maximum number of images for calibrating int8 exports.
            skip_bad_images: Whether to leave out images that cannot be decoded.

        Raises:
            ValueError: An image cannot be decoded.
        """
        held_out = "test" if "test" in source.splits else "validation"
        parts = {
            "calibration": (source.split("train"), calibration),
            "verification": (source.split(held_out), VERIFICATION_SAMPLES),
        }
        for name, (split, most) in parts.items():
            rows = []
            for i in sorted(choose_balanced(split.labels, most)):
                labels = _labels_of(split, i, source.class_names)
                # With several labels, a CSV file lists them.
                class_folder = labels[0] if split.label_sets is None else ""
                path = self.samples / name / class_folder / f"{i:07d}.png"
                try:
                    _write_png(path, split, i)
                    rows.append({"path": path.name, "label": "|".join(labels)})
                except tf.errors.OpError as error:
                    if not skip_bad_images:
                        raise UnreadableImagesError([split.names[i]]) from error
            if split.label_sets is not None and rows:
                listed = self.samples / name / sidecars.SAMPLES_FILE
                write_csv(listed, rows, escaped=False)


def describe_environment() -> str:
    """Returns Python, platform, devices and package versions, one per line."""
    lines = [f"python {sys.version.split()[0]}", f"platform {platform.platform()}"]
    devices = tf.config.list_logical_devices()
    lines.append(f"devices {', '.join(device.name for device in devices)}")
    for package in _PACKAGES:
        try:
            lines.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def _describe_weights(config: TrainConfig) -> str:
    """Returns the repository of the initial weights, pinned to its commit, or ""."""
    record = published(config.weights, config.variant)
    return f"weights {record.name}\n" if record and record.revision else ""


def _describe_images(source: Source) -> dict[str, list[int | str]]:
    """Returns the number and the digest of each split's images."""
    return {
        name: [len(split), split.digest()]
        for name, split in sorted(source.splits.items())
    }


def _describe_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    changes = []
    for name in sorted(old.keys() | new.keys()):
        (before, mark), (after, other) = (d.get(name, (0, "")) for d in (old, new))
        if before != after:
            changes.append(f"{after} images of {name} instead of {before}")
        elif mark != other:
            changes.append(f"{name} with other names, sizes or classes of its images")
    return "; ".join(changes)


def _labels_of(split: Split, index: int, class_names: Sequence[str]) -> list[str]:
    if split.label_sets is not None:
        return label_names(split.label_sets[index], class_names)
    return [class_names[split.labels[index]]]


def _write_png(path: pathlib.Path, split: Split, index: int) -> None:
    image = tf_ops.pixels(split.read(tf.constant(index, tf.int64)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(image).numpy())


def _write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")


@contextlib.contextmanager
def _naming_damaged(path: pathlib.Path, cure: str) -> Iterator[None]:
    """Turns any error about the content of a file into one that names the file."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); {cure}") from error


def _read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8")
