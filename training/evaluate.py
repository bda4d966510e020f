r"""Evaluates a model: top-1 and top-5 accuracy or mAP, each image counted once.

python -m training.evaluate --model=runs/digits --data=digits --split=test
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.files import write_text
from keras_efficientnet.common.image_classes import match_classes, readable_names
from keras_efficientnet.common.image_folders import existing_folder
from keras_efficientnet.common.models import WEIGHTS_HELP, OpenedModel, open_model
from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.common.scoring.thresholds import THRESHOLDS_HELP
from keras_efficientnet.preprocessing import EvalPreprocessing

from .data import sources
from .metrics import predictions
from .metrics.evaluator import Evaluator
from .metrics.metrics import Scores
from .metrics.multi_label import score_labels
from .reporting import label_plots, plots
from .reporting.calibration_plots import draw_calibration
from .reporting.calibration_report import describe_evaluation

# Split -> the split to score if a source does not have it.
_FALLBACKS = {"test": "validation", "validation": "test"}


def evaluate(
    model: keras.Model,
    split: sources.Split,
    spec: EvalPreprocessing,
    batch_size: int = 64,
) -> Scores:
    """Scores every image of a split once.

    Args:
        model: Model from images, 0 to 255, to probabilities, (batch, classes).
        split: Images and labels.
        spec: Image size, crop ratio and resize method.
        batch_size: Images per step.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    multi_label = split.label_sets is not None
    return Evaluator(model, multi_label=multi_label)(split, spec, batch_size)


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """

    def string(
        name: str, default: str | None, text: str, *, required: bool = False
    ) -> None:
        flags.DEFINE_string(name, default, text, flag_values=values, required=required)

    default = EvalPreprocessing(1)
    model = "Run folder, .keras or .h5 file, or name of a variant."
    string("model", None, model, required=True)
    string("weights", None, WEIGHTS_HELP)
    string("labels", None, "File of class names, one per line. Default: the model's.")
    string(
        "data",
        None,
        "Images to score, as in --config.data: folder:DIR, csv:FILE or others.",
    )
    string("data_dir", None, "Folder in which TFDS keeps its data sets.")
    string(
        "split",
        "validation",
        "Split to score: train, validation or test. If the data has no test split, "
        "validation is scored, and vice versa.",
    )
    string("images", None, "Folder of images without labels, in place of --data.")
    flags.DEFINE_integer(
        "batch_size", 64, "Images per step.", flag_values=values, lower_bound=1
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the input in pixels. Default: the model's.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_float(
        "crop_ratio",
        None,
        "Side of the central crop as a ratio to the shorter side. Default: the "
        "model's, or at least 0.875 if it has none.",
        flag_values=values,
    )
    string(
        "interpolation",
        None,
        f"Resize method. Default: the model's, or {default.interpolation}.",
    )
    string(
        "crop_mode",
        None,
        f"Shape of the crop: center or squash. Default: the model's, or "
        f"{default.crop_mode}.",
    )
    flags.DEFINE_bool(
        "calibrate",
        True,
        "Score calibrated probabilities, if the run has a calibration.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "reject_precision",
        None,
        "Precision of accepted predictions, such as 0.95; prints the share of images "
        "that are accepted. Default: the run's.",
        flag_values=values,
    )
    string(
        "unknown",
        None,
        "Folder of images of other classes; prints the share that is rejected.",
    )
    string("thresholds", None, THRESHOLDS_HELP)
    string("output_dir", None, "Folder for tables and pictures.")
    string(
        "server_file",
        None,
        "Path of a prediction file of --images for the ILSVRC server.",
    )
    string(
        "ilsvrc_ids", None, "File of WordNet ids in the order of the ILSVRC numbers."
    )


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: unknown arguments: {' '.join(argv[1:])}")
    args = flags.FLAGS
    try:
        _run(args)
    except (ValueError, ImportError, OSError) as error:
        end_with(error)
    except tf.errors.OpError as error:
        text = f"Error: TensorFlow failed: {tf_reason(error)}"
        end(ExitCode.FAILURE, text)


def _run(args: Any) -> None:
    if (args.data is None) == (args.images is None):
        raise ValueError(
            "One of `data` and `images` must be given. "
            f"Received: data={args.data!r}, images={args.images!r}"
        )
    if bool(args.server_file) != bool(args.ilsvrc_ids and args.images):
        raise ValueError(
            "`server_file` must be given with `images` and `ilsvrc_ids`. Received: "
            f"server_file={args.server_file!r}, images={args.images!r}, "
            f"ilsvrc_ids={args.ilsvrc_ids!r}"
        )
    # Quick checks first, before the work that takes time.
    for place in _places(args):
        place.mkdir(parents=True, exist_ok=True)
    ids = predictions.read_ilsvrc_ids(args.ilsvrc_ids) if args.ilsvrc_ids else {}
    opened = open_model(
        args.model,
        args.weights,
        labels=args.labels,
        image_size=args.image_size,
        crop_ratio=args.crop_ratio,
        interpolation=args.interpolation,
        crop_mode=args.crop_mode,
        calibrate=args.calibrate,
        reject_precision=args.reject_precision,
        thresholds=args.thresholds,
    )
    record = opened.calibration
    if args.unknown and (opened.reject_threshold is None or args.images):
        raise ValueError(
            "`unknown` needs `data` and a rejection threshold; pass a run and "
            f"--reject_precision. Received: unknown={args.unknown!r}"
        )
    if args.images:
        names, split = opened.class_names, _unlabelled(args.images)
    else:
        names, split = _labelled(opened, args)
    if names is None:
        names = tuple(f"class {i}" for i in range(opened.classes))
    found = predictions.predict(
        opened.model,
        split,
        opened.preprocessing,
        args.batch_size,
        opened.thresholds,
        record.temperature if record else None,
    )
    calibration, text = _describe_calibration(found, opened, args)
    shown = readable_names(names)
    if args.images:
        print(f"{len(split)} images predicted")
    else:
        print(scores_of(found))
        if text:
            print(text)
    if args.server_file:
        path = pathlib.Path(args.server_file).expanduser()
        predictions.write_server_file(found, names, ids, path)
    if args.output_dir:
        folder = pathlib.Path(args.output_dir).expanduser()
        is_labelled = not args.images
        _write(found, shown, folder, is_labelled, calibration, opened.reject_threshold)


def _places(args: Any) -> list[pathlib.Path]:
    """Lists the folders of the output files."""
    places = [pathlib.Path(args.output_dir).expanduser()] if args.output_dir else []
    if args.server_file:
        places.append(pathlib.Path(args.server_file).expanduser().parent)
    return places


def _unlabelled(directory: str) -> sources.Split:
    """Opens a folder of images, whose names are relative to it."""
    split, root = sources.unlabelled(directory), existing_folder(directory)
    names = [os.path.relpath(name, root) for name in split.names]
    return dataclasses.replace(split, names=names)


def _labelled(opened: OpenedModel, args: Any) -> tuple[tuple[str, ...], sources.Split]:
    """Returns the model's classes and a split whose labels are their indices."""
    source = sources.load(
        args.data,
        data_dir=args.data_dir,
        multi_label=opened.thresholds is not None,
    )
    split, names = _find_split(source, args.split), opened.class_names
    places = match_classes(source.class_names, names, opened.classes)
    sets = None
    if split.label_sets is not None:
        sets = np.zeros((len(split), opened.classes), np.uint8)
        sets[:, places] = split.label_sets
    labels, known = split.labels.copy(), split.labels != sources.UNKNOWN
    labels[known] = places[labels[known]]
    split = dataclasses.replace(split, labels=labels, label_sets=sets)
    return names or source.class_names, split


def _find_split(source: sources.Source, name: str) -> sources.Split:
    """Returns a split or, with a note, the other held-out one if it is missing."""
    if name in _FALLBACKS and name not in source.splits:
        other = _FALLBACKS[name]
        if other in source.splits:
            console.report(f"Note: `data` has no {name} split; {other} is scored.")
            return source.split(other)
    return source.split(name)


def scores_of(found: predictions.Predictions) -> Scores:
    """Returns the scores of predictions for images with labels."""
    scores = Scores(
        images=len(found.labels),
        loss=float(found.losses.mean()),
        top1=float(found.is_top1.mean()),
        top5=float(found.is_top5.mean()),
    )
    if found.scores is None or found.label_sets is None:
        return scores
    return score_labels(scores, found.label_sets, found.scores, found.thresholds)


def _describe_calibration(
    found: predictions.Predictions, opened: OpenedModel, args: Any
) -> tuple[dict[str, Any], str]:
    if found.confidences is None:
        return {}, ""
    unknown = None
    if args.unknown:
        split, spec = sources.unlabelled(args.unknown), opened.preprocessing
        others = predictions.predict(opened.model, split, spec, args.batch_size)
        unknown = others.probabilities[:, 0]
    return describe_evaluation(
        found.confidences, found.uncalibrated, opened.calibration, unknown
    )


def _write(
    found: predictions.Predictions,
    class_names: tuple[str, ...],
    folder: pathlib.Path,
    is_labelled: bool,
    calibration: dict[str, Any],
    threshold: float | None,
) -> None:
    predictions.write_predictions(
        found, class_names, folder / "predictions.csv", threshold
    )
    if not is_labelled:
        return
    scores = scores_of(found)
    values = dataclasses.asdict(scores)
    values["top1_interval"] = scores.top1_interval
    values["top5_interval"] = scores.top5_interval
    if found.confidences is not None:
        values["calibration"] = calibration
        path = folder / "calibration.png"
        draw_calibration(
            found.uncalibrated,
            found.confidences,
            path,
            threshold,
            has_risk=found.label_sets is None,
        )
    text = json.dumps(values, indent=2)
    write_text(folder / "scores.json", text + "\n")
    predictions.write_per_class(found, class_names, folder / "per_class.csv")
    if found.label_sets is not None:
        rows = predictions.per_class_scores(found, class_names)
        label_plots.draw_per_class(rows, folder / "per_class.png")
        return
    plots.draw_confusion(
        found.labels, found.answers[:, 0], class_names, folder / "confusion.png"
    )


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(_main)


if __name__ == "__main__":
    run()
