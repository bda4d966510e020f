"""Sidecar files of a model: labels.txt and preprocessing.json."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..calibration.thresholds import check_threshold
from ..preprocessing import EvalPreprocessing
from .files import read_regular, write_text
from .output_activation import OUTPUT_ACTIVATIONS
from .scoring.thresholds import check_thresholds

LABELS_FILE = "labels.txt"  # one class name per line, in index order
PREPROCESSING_FILE = "preprocessing.json"
SAMPLES_FILE = "labels.csv"  # labels of a run's sample images, where there are several
_SHOWN = 5  # names in an error


@dataclasses.dataclass(frozen=True)
class Sidecars:
    """Content of the sidecar files of a model or artefact.

    Attributes:
        labels: Class names in index order; None if unknown.
        preprocessing: Known fields of `EvalPreprocessing`.
        output_activation: Activation of the outputs, see `output_activation`; None if
            unknown.
        artefacts: File or folder name -> digest of each artefact that these sidecars
            belong to; None if they belong to any model in the folder.
        model: Digest of the model that the artefacts were exported from, or None.
        reject_threshold: Lowest accepted probability of the top prediction, 0 to 1;
            None: all predictions are accepted.
        thresholds: Threshold of each class of a multi-label model, 0 to 1: an image has
            all labels whose probability reaches theirs. None: one label per image.
    """

    labels: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    output_activation: str | None = None
    artefacts: Mapping[str, str] | None = None
    model: str | None = None
    reject_threshold: float | None = None
    thresholds: tuple[float, ...] | None = None

    def belong_to(self, path: Path) -> bool:
        """Returns whether these sidecars were written for a file or folder."""
        if self.artefacts is None:
            return True
        return self.artefacts.get(path.name) == digest(path)


def read_sidecars(folder: Path) -> Sidecars:
    """Reads labels.txt and preprocessing.json, if they exist.

    Args:
        folder: Folder of the model.

    Raises:
        ValueError: A file is invalid; the message names it.
    """
    labels, fields = folder / LABELS_FILE, folder / PREPROCESSING_FILE
    found = Sidecars()
    if fields.is_file():
        found = parse_preprocessing(_read(fields), str(fields))
    if labels.is_file():
        found = dataclasses.replace(found, labels=read_labels(labels))
    return found


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Reads class names, one per line.

    Args:
        path: Path of a text file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: The file is missing, is not UTF-8, or has empty or repeated names.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"A file of class names must exist. Received: {path}")
    labels = parse_labels(_read(path))
    check_labels(labels, len(labels), str(path))
    return labels


def parse_labels(text: str) -> tuple[str, ...]:
    r"""Splits the text of a labels.txt into class names.

    Only line feeds separate names, because class names may contain the other characters
    that Python treats as line boundaries. If every line ends in CR LF, that is the
    separator.

    Example:
        >>> parse_labels("cat\ndog\x85\n")
        ('cat', 'dog\x85')
    """
    lines = text.removesuffix("\n").split("\n")
    if text.endswith("\n") and all(line.endswith("\r") for line in lines):
        lines = [line.removesuffix("\r") for line in lines]
    return tuple(lines)


def format_labels(labels: Sequence[str]) -> str:
    """Formats class names as the text of a labels.txt.

    Args:
        labels: Class names in index order.

    Raises:
        ValueError: A name would not survive the round trip.
    """
    text = "".join(f"{label}\n" for label in labels)
    if parse_labels(text) != tuple(labels) or text.startswith("\ufeff"):
        odd = [name for name in labels if "\n" in name or name.endswith("\r")]
        raise ValueError(
            "Class names must not contain line feeds, end with a carriage return or "
            f"begin with a byte order mark. Received: {_listed(odd or labels)}"
        )
    for label in labels:
        try:
            label.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                "Class names must be valid Unicode; rename the class folder. "
                f"Received: {label!r}"
            ) from error
    return text


def write_labels(labels: Sequence[str], path: Path) -> None:
    """Writes class names, one per line.

    Args:
        labels: Class names in index order.
        path: Path of the file.

    Raises:
        ValueError: See `format_labels`.
    """
    write_text(path, format_labels(labels))


def check_labels(labels: Sequence[str], classes: int, origin: str) -> None:
    """Checks that there is one distinct, non-empty name per class.

    Args:
        labels: Class names in index order.
        classes: Number of the model's classes.
        origin: Name of the model or file, for error messages.

    Raises:
        ValueError: The number of names differs, or names are empty or repeated.
    """
    if len(labels) != classes:
        raise ValueError(
            "A model must have one label per class. "
            f"Received: {origin} with {classes} classes and {len(labels)} labels"
        )
    empty = [str(i) for i, label in enumerate(labels, start=1) if not label.strip()]
    if empty:
        raise ValueError(
            "A class name must not be empty. "
            f"Received: {origin}, where line {', '.join(empty[:_SHOWN])} is empty"
        )
    counts = collections.Counter(labels)
    repeated = [label for label, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            "Class names must be distinct. "
            f"Received: {origin} with {_listed(repeated)} more than once"
        )


def parse_preprocessing(text: str, origin: str) -> Sidecars:
    """Parses the text of a preprocessing.json.

    Args:
        text: Text of the file, a JSON object.
        origin: Name of the file, for error messages.

    Raises:
        ValueError: The text is not valid.
    """
    try:
        values = json.loads(text)
        fields = dict(values)
        activation = fields.pop("output_activation", None)
        artefacts, model = fields.pop("artefacts", None), fields.pop("model", None)
        threshold = fields.pop("reject_threshold", None)
        if threshold is not None:
            check_threshold(threshold)
        thresholds = fields.pop("thresholds", None)
        if thresholds is not None:
            thresholds = check_thresholds(thresholds)
        fields = _current_names(fields)
        EvalPreprocessing(**{"image_size": 1, **fields})
        if activation not in (None, *OUTPUT_ACTIVATIONS):
            raise ValueError(f"output_activation={activation!r}")
        if not isinstance(artefacts, dict | None):
            raise ValueError(f"artefacts={artefacts!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "A preprocessing.json must be a JSON object with the fields of "
            "EvalPreprocessing, and perhaps output_activation "
            f"({', '.join(OUTPUT_ACTIVATIONS)}), thresholds, reject_threshold, "
            "artefacts and model. "
            f"Received: {origin} ({error})"
        ) from error
    return Sidecars(
        None,
        fields,
        activation,
        artefacts,
        model,
        reject_threshold=threshold,
        thresholds=thresholds,
    )


def _current_names(fields: dict[str, Any]) -> dict[str, Any]:
    """Renames fields of files written by pre-releases of version 0.1."""
    fields = dict(fields)
    if "resize" in fields:
        fields["interpolation"] = fields.pop("resize")
    if "crop_padding" in fields:
        size = fields["image_size"]
        fields["crop_ratio"] = size / (size + fields.pop("crop_padding"))
    return fields


def format_preprocessing(
    preprocessing: EvalPreprocessing,
    output_activation: str,
    artefacts: Mapping[str, str] | None = None,
    model: str | None = None,
    *,
    reject_threshold: float | None = None,
    thresholds: Sequence[float] | None = None,
) -> str:
    """Formats the text of a preprocessing.json; `Sidecars` explains the arguments."""
    fields = dataclasses.asdict(preprocessing)
    fields["output_activation"] = output_activation
    if reject_threshold is not None:
        fields["reject_threshold"] = reject_threshold
    if thresholds is not None:
        fields["thresholds"] = list(thresholds)
    if artefacts is not None:
        fields |= {"artefacts": dict(artefacts), "model": model}
    return json.dumps(fields, indent=2) + "\n"


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents in a folder."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return whole.hexdigest()


def _read(path: Path) -> str:
    try:
        return read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} must be UTF-8 text; save it in that encoding. "
            f"Received: {path} ({error})"
        ) from error


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + rest
