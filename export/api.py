"""Export of one model: load, convert, verify, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.image_classes import choose_balanced
from keras_efficientnet.common.image_csv import is_image_csv, open_image_csv
from keras_efficientnet.common.image_folders import ImageFolder, list_images
from keras_efficientnet.common.recursion_limit import raised_recursion_limit
from keras_efficientnet.common.split_folders import open_image_folder
from keras_efficientnet.preprocessing import EvalPreprocessing
from keras_efficientnet.preprocessing.tf_files import BATCH_SIZE, read_batches

from .artefacts.maker import Maker
from .artefacts.ranking import find_candidates
from .artefacts.result import Result
from .formats.export_inputs import ExportInputs
from .formats.registry import Format, find_formats
from .loading import Loaded, load
from .output_folder import OutputFolder
from .report import REPORT_MD, format_table, link_from_run, write_report
from .runtimes.base import KerasRunner
from .transforms.inference_model import inference_model
from .verify import (
    Reference,
    UnknownImages,
    VerificationError,
    check_copy,
    find_warnings,
    reference_predictions,
)

CALIBRATION_IMAGES = 200
EXPORT_FOLDER = "export"  # of a run folder


@raised_recursion_limit()
def export_model(
    model: str | Path | keras.Model,
    formats: Sequence[str],
    *,
    weights: str | None = None,
    labels: str | Path | Sequence[str] | None = None,
    calibration: str | Path | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    verify: str | Path | None = None,
    output_dir: str | Path | None = None,
    image_size: int | None = None,
    crop_ratio: float | None = None,
    interpolation: str | None = None,
    crop_mode: str | None = None,
    title: str | None = None,
    calibrate: bool = True,
    reject_precision: float | None = None,
    thresholds: str | None = None,
    unknown: str | Path | None = None,
    saved_model_version: int | None = None,
) -> list[Result]:
    """Exports a model to several formats and verifies each artefact on real images.

    Writes the artefacts, labels.txt, preprocessing.json, report.json, report.md and
    two pictures. Prints the number of calibration images and a table of the results;
    on standard error, warnings about the verification and, on a terminal, progress
    bars. Artefacts of another model from an earlier export to the same folder are
    removed.

    Args:
        model: A run folder, a .keras or .h5 file, a variant name ("EfficientNetB0"),
            or a Keras model.
        formats: Keys of `formats.FORMATS`, or "all". With "fastest", all formats for
            servers are measured, and the fastest that passes is kept.
        weights: For a variant name: a family of published weights, or a weight
            file. Defaults to the family that its factory loads.
        labels: Class names in index order, or a file of them, one per line.
            Same default as in `loading.load`.
        calibration: Folder of images or of class folders, or CSV file of images, for
            calibrating the quantisation. Defaults to the images that the run has set
            aside.
        calibration_images: Number of calibration images, balanced over the classes.
        verify: Folder or CSV file of images to compare on; with labels, accuracy is
            measured too. Defaults to the images that the run has set aside.
        output_dir: Folder to write to. Defaults to the folder "export" in a run folder.
        image_size: Side of the network's input, pixels. Same default as in `load`.
        crop_ratio: See `EvalPreprocessing`. Same default as in `load`.
        interpolation: See `EvalPreprocessing`. Same default as in `load`.
        crop_mode: See `EvalPreprocessing`. Same default as in `load`.
        title: Title of the web page. Defaults to the model's name.
        calibrate: Whether the artefacts return calibrated probabilities, if the model
            is a run folder with a calibration.
        reject_precision: Precision of accepted predictions; below the threshold for
            it, an image is not recognised. Defaults to that of the run.
        thresholds: Thresholds of a multi-label model: one for all labels, such as
            "0.5", or for some, as in "cat=0.3,dog=0.7". Defaults to those of the run.
        unknown: Folder of images of other classes; the report lists the share that
            each artefact rejects. Needs a rejection threshold.
        saved_model_version: Version of the SavedModel, at least 1; it is written to
            saved_model/VERSION, for TensorFlow Serving. None: to saved_model.

    Returns:
        One result per artefact, in the order of the table of formats.

    Raises:
        ValueError: An argument is invalid, or the model cannot be converted.
        VerificationError: An artefact missed a threshold. All artefacts are still
            written and reported; the names of failed ones end in ".failed".

    Example:
        >>> export_model("runs/digits", ["tflite_int8"])  # doctest: +SKIP
    """
    rows = find_formats(formats)
    _check_title(title, rows)
    _check_version(saved_model_version, rows)
    _check_backend()
    loaded = load(
        model,
        weights=weights,
        labels=labels,
        image_size=image_size,
        crop_ratio=crop_ratio,
        interpolation=interpolation,
        crop_mode=crop_mode,
        calibrate=calibrate,
        reject_precision=reject_precision,
        thresholds=thresholds,
    )
    spec = loaded.preprocessing
    network = inference_model(_keras_model(loaded), spec.image_size)
    path = _output_dir(output_dir, loaded)
    multi_label = loaded.thresholds is not None
    examples = _verification(verify or loaded.verification, multi_label)
    others = _unknown(unknown, loaded)
    calibration = calibration or loaded.calibration
    candidates, skipped = find_candidates(formats, calibration is not None)
    calibration_set = _calibration(
        rows | candidates, calibration, calibration_images, multi_label
    )
    warnings = find_warnings(examples.paths, calibration_set)
    for warning in warnings:
        console.report(f"warning: {warning}")
    batches = _Batches(calibration_set, spec, loaded.channels)
    source = ExportInputs(
        network,
        spec.image_size,
        loaded.labels,
        spec,
        batches,
        title,
        reject_threshold=loaded.reject_threshold,
        thresholds=loaded.thresholds,
        saved_model_version=saved_model_version,
    )
    folder = OutputFolder(path, source, [row.artefact for row in rows.values()])
    reference = _ask(loaded, network, examples, others)
    maker = Maker(rows, candidates, source, reference)
    results, ranking = maker.run(folder, skipped)
    folder.write_sidecars(loaded, results)
    write_report(loaded, reference, results, path, warnings, ranking)
    if loaded.run_folder is not None:
        link_from_run(loaded.run_folder, results, path)
    print(format_table(results))
    if ranking is not None:
        print(ranking.as_text())
    print(f"Report: {path / REPORT_MD}")
    _raise_on_problems(results)
    return results


class _Batches:
    """Batches of images, read from their files on each iteration."""

    def __init__(self, paths: Sequence[str], spec: EvalPreprocessing, channels: int):
        self._paths = paths
        self._spec = spec
        self._channels = channels

    def __iter__(self) -> Iterator[np.ndarray]:
        return read_batches(self._paths, self._spec, self._channels)


def _ask(
    loaded: Loaded,
    network: keras.Model,
    examples: ImageFolder,
    unknown: UnknownImages | None,
) -> Reference:
    """Runs the inference network, after checking that it matches the user's model."""
    model, runner = _keras_model(loaded), KerasRunner(network)
    if network is not model:
        first = examples.paths[:BATCH_SIZE]
        for images in _Batches(first, loaded.preprocessing, loaded.channels):
            check_copy(loaded.runner, runner, images)
    return reference_predictions(
        runner,
        examples,
        loaded.labels,
        loaded.preprocessing,
        loaded.thresholds,
        unknown,
    )


def _check_title(title: str | None, rows: Mapping[str, Format]) -> None:
    if title is not None and "web" not in rows:
        raise ValueError(
            "`title` applies to the format web only. "
            f"Received: title={title!r}, formats={','.join(rows)}"
        )


def _check_version(version: int | None, rows: Mapping[str, Format]) -> None:
    if version is not None and (version < 1 or "saved_model" not in rows):
        raise ValueError(
            "`saved_model_version` must be at least 1 and applies to the format "
            "saved_model only. "
            f"Received: saved_model_version={version}, formats={','.join(rows)}"
        )


def _check_backend() -> None:
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "Keras must use the TensorFlow backend for an export; set "
            "KERAS_BACKEND=tensorflow. "
            f"Received: {keras.config.backend()}"
        )


def _keras_model(loaded: Loaded) -> keras.Model:
    if not isinstance(loaded.runner, KerasRunner):
        raise ValueError(
            "A model to export must be a run folder, a .keras or .h5 file or a variant "
            f"name; artefacts cannot be exported again. Received: {loaded.name}"
        )
    return loaded.runner.model


def _output_dir(given: str | Path | None, loaded: Loaded) -> Path:
    if given is not None:
        return Path(given).expanduser()
    if loaded.run_folder is not None:
        return loaded.run_folder / EXPORT_FOLDER
    raise ValueError(
        "`output_dir` must be given unless the model is a run folder. "
        f"Received: output_dir=None, model={loaded.name}"
    )


def _verification(folder: str | Path | None, multi_label: bool) -> ImageFolder:
    if folder is None:
        raise ValueError(
            "`verify` must be a folder of real images; every artefact is compared with "
            "the Keras model on them. Received: verify=None"
        )
    return _open_images(folder, multi_label)


def _unknown(folder: str | Path | None, loaded: Loaded) -> UnknownImages | None:
    if folder is None:
        return None
    if loaded.reject_threshold is None:
        raise ValueError(
            "`unknown` needs a rejection threshold; pass `reject_precision`, or train "
            f"with it. Received: unknown={str(folder)!r}"
        )
    paths = tuple(Path(path) for path in list_images(folder))
    return UnknownImages(paths, loaded.reject_threshold)


def _open_images(name: str | Path, multi_label: bool) -> ImageFolder:
    """Opens a folder of images or all images of a CSV file, whatever their split."""
    kind, _, rest = str(name).partition(":")
    if kind in ("csv", "folder") and rest:  # as the trainer names them
        name = rest
    if is_image_csv(name) and not Path(name).expanduser().is_dir():
        return open_image_csv(name, multi_label=multi_label).images
    return open_image_folder(name)


def _calibration(
    rows: dict[str, Format],
    folder: str | Path | None,
    count: int,
    multi_label: bool,
) -> Sequence[str]:
    in_need = [name for name, row in rows.items() if row.needs_calibration]
    if not in_need:
        return []
    if folder is None:
        raise ValueError(
            "`calibration` must be a folder of images like those the model will see; "
            "quantisation measures activation ranges on them. "
            f"Received: formats={','.join(in_need)}, calibration=None"
        )
    if count < 1:
        raise ValueError(
            "`calibration_images` must be at least 1. "
            f"Received: calibration_images={count}"
        )
    found = _open_images(folder, multi_label)
    chosen = found.take(choose_balanced(found.labels, count))
    by_class = ""
    if chosen.class_names and not multi_label:
        counts = np.unique(chosen.labels, return_counts=True)[1]
        low, high = counts.min(), counts.max()
        each = f"{low}" if low == high else f"{low} to {high}"
        by_class = f", {each} from each of {len(counts)} classes"
    print(f"Calibrating on {len(chosen)} images{by_class}.", flush=True)
    return chosen.paths


def _raise_on_problems(results: Sequence[Result]) -> None:
    failures = [
        f"{result.format}: {'; '.join(result.problems)}. Kept as {result.path}"
        for result in results
        if result.problems
    ]
    if failures:
        raise VerificationError("\n".join(failures))
