r"""Creates pseudo labels with a teacher, for Noisy Student training.

python -m training.pseudo_label --teacher=runs/b0 --data=/data/unlabelled \
    --output=pseudo.npz
python -m training.pseudo_label --predictions=predictions/ --output=pseudo.npz
python -m training.main --config=noisy_student --config.pseudo_labels=pseudo.npz ...

The second form reads the folder of a finished batch prediction of the teacher, which
may have run on many machines. Its memory does not grow with the number of images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, end, end_with, run_app
from keras_efficientnet.common.cli.processes import return_freed_arrays
from keras_efficientnet.common.models import open_model
from keras_efficientnet.common.output_activation import SIGMOID, probability_model
from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.preprocessing import EvalPreprocessing

from .data import pipeline
from .data.batch_predictions import check_file_names, find_positions, open_predictions
from .data.selection import ImageSelection
from .data.sources import Split, pseudo
from .data.sources.label_file import NameArray
from .engine import distribution


def teacher_probabilities(
    teacher: keras.Model,
    split: Split,
    spec: EvalPreprocessing,
    batch_size: int,
    bad_images: pipeline.BadImages | None = None,
) -> np.ndarray:
    """Predicts class probabilities with the teacher, without augmentation or dropout.

    Args:
        teacher: Model from images, 0 to 255, to probabilities, (batch, classes).
        split: Images.
        spec: Image size, crop ratio and resize method.
        batch_size: Images per step.
        bad_images: Record of images that cannot be decoded. None: they raise an error.

    Returns:
        (images, classes), float16; zeros for an image that could not be decoded.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    batches = pipeline.eval_batches(
        split,
        spec,
        batch_size=batch_size,
        strategy=distribution.make_strategy("one_device"),
        bad_images=bad_images,
    )
    step = tf.function(lambda images: teacher(images, training=False))
    found = []
    with pipeline.name_unreadable_image(split):
        for images, _, mask in batches:
            rows = step(images) * mask[:, tf.newaxis]
            found.append(rows.numpy().astype(np.float16))
    return np.concatenate(found)[: len(split)]


def choose_images(
    found: np.ndarray, min_confidence: float, per_class: int
) -> np.ndarray:
    """Chooses the images to train on, the same number for every class.

    See `ImageSelection` for the rule.

    Args:
        found: Probabilities, (images, classes).
        min_confidence: Lower bound of the highest probability of an image, exclusive.
        per_class: Number of images per class.

    Returns:
        Positions, (chosen,), int64, by class, with repetitions. A class that the
        teacher never predicts has none.

    Example:
        >>> found = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.2, 0.8]])
        >>> choose_images(found, min_confidence=0.3, per_class=2).tolist()
        [0, 2, 3, 3]
    """
    selection = ImageSelection(min_confidence, per_class)
    selection.add(found.argmax(axis=1), found.max(axis=1))
    kept, rows = selection.chosen()
    return kept[rows]


def label_images(
    teacher: keras.Model,
    spec: EvalPreprocessing,
    images: str,
    *,
    data_dir: str | None = None,
    min_confidence: float = 0.3,
    per_class: int = 130_000,
    batch_size: int = 64,
    class_names: Sequence[str] = (),
) -> pseudo.PseudoLabels:
    """Labels images with a teacher and chooses those to train on.

    Args:
        teacher: Model from images, 0 to 255, to probabilities, (batch, classes).
        spec: Preprocessing of the teacher's images.
        images: Folder of images, or a source whose training images are labelled.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.
        min_confidence: Lower bound of the highest probability of an image, exclusive.
        per_class: Maximum number of images per class.
        batch_size: Images per step.
        class_names: Class names of the teacher, in index order; empty if unknown.

    Raises:
        ValueError: There are no images, over 1% of them cannot be read, or no
            prediction is confident enough.
    """
    if os.path.isdir(images):
        images = os.path.abspath(images)  # for a trainer in another working directory
    split = pseudo.open_images(images, data_dir)
    bad_images = pipeline.BadImages(split)
    found = teacher_probabilities(teacher, split, spec, batch_size, bad_images)
    bad_images.check(len(split))
    chosen = choose_images(found, min_confidence, per_class)
    if not len(chosen):
        raise _no_confident_image(float(found.max()), min_confidence)
    kept, rows = np.unique(chosen, return_inverse=True)
    return pseudo.PseudoLabels(
        data=images,
        data_dir=data_dir or "",
        names=[split.names[i] for i in kept],
        positions=kept,
        probabilities=found[kept],
        rows=rows.reshape(-1),
        class_names=tuple(class_names),
    )


def label_from_predictions(
    folder: str,
    images: str | None = None,
    *,
    data_dir: str | None = None,
    min_confidence: float = 0.3,
    per_class: int = 130_000,
) -> pseudo.PseudoLabels:
    """Chooses images to train on from a teacher's batch predictions.

    Args:
        folder: Folder written by export.batch_predict.
        images: Source that contains the predicted images. None: they are files.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.
        min_confidence: Lower bound of the highest probability of an image, exclusive.
        per_class: Maximum number of images per class.

    Raises:
        ValueError: The predictions are not usable, no prediction is confident enough,
            or an image is not in the source.
        ImportError: The predictions are Parquet files, and pyarrow is not installed.
    """
    predictions = open_predictions(folder)
    selection = ImageSelection(min_confidence, per_class)
    for batch in predictions.rows(names=False):
        selection.add(batch.classes[:, 0], batch.scores[:, 0])
    (kept, rows), highest = selection.chosen(), selection.highest
    del selection  # millions of candidates
    if not len(kept):
        raise _no_confident_image(highest, min_confidence)
    names, probabilities = predictions.take(kept)
    if images is None:
        check_file_names(names)
        del kept
        positions = np.arange(len(names))
    else:
        if os.path.isdir(images):
            images = os.path.abspath(images)  # as in `label_images`
        split_names = pseudo.open_images(images, data_dir).names
        positions = find_positions(names, split_names, images)
        names = NameArray.from_names(split_names[int(i)] for i in positions)
    return pseudo.PseudoLabels(
        data=images or "",
        data_dir=data_dir or "",
        names=names,
        positions=positions,
        probabilities=probabilities,
        rows=rows,
        class_names=predictions.class_names,
    )


def _no_confident_image(highest: float, min_confidence: float) -> ValueError:
    return ValueError(
        "`min_confidence` must be under the teacher's confidence in some image, "
        f"at most {highest:.3f}. Received: min_confidence={min_confidence}"
    )


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Registry of the flags; `flags.FLAGS` for the command itself.
    """

    def string(name: str, text: str, *, required: bool = False) -> None:
        flags.DEFINE_string(name, None, text, flag_values=values, required=required)

    def count(name: str, default: int, text: str) -> None:
        flags.DEFINE_integer(name, default, text, flag_values=values, lower_bound=1)

    string("teacher", "Run folder or .keras file of the teacher.")
    string("predictions", "Folder of export.batch_predict, instead of --teacher.")
    string(
        "data",
        "Folder of images, or a source as in --config.data. With --predictions of "
        "image files, it can be left out.",
    )
    string("output", "Path of the .npz file to write.", required=True)
    string("data_dir", "Folder in which TFDS keeps its data sets.")
    flags.DEFINE_float(
        "min_confidence",
        0.3,
        "Lowest confidence of an image to keep.",
        flag_values=values,
        lower_bound=0.0,
        upper_bound=1.0,
    )
    count("per_class", 130_000, "Maximum number of images per class.")
    count("batch_size", 64, "Images per step.")


def _label(args: flags.FlagValues) -> pseudo.PseudoLabels:
    """Labels images as the flags say."""
    if (args.teacher is None) == (args.predictions is None):
        raise ValueError(
            "Either `teacher` or `predictions` must be given. Received: "
            f"teacher={args.teacher!r}, predictions={args.predictions!r}"
        )
    options = {
        "data_dir": args.data_dir,
        "min_confidence": args.min_confidence,
        "per_class": args.per_class,
    }
    if args.predictions is not None:
        return_freed_arrays()
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # it returns them
        return label_from_predictions(args.predictions, args.data, **options)
    if args.data is None:
        raise ValueError("`data` must be given with `teacher`. Received: data=None")
    teacher = open_model(args.teacher, calibrate=False)
    outputs = int(teacher.model.outputs[0].shape[-1])
    if teacher.output_activation == SIGMOID and outputs > 1:
        raise ValueError(
            "`teacher` must have mutually exclusive classes, with softmax or "
            f"logits. Received: teacher={args.teacher!r}, which ends in sigmoids"
        )
    return label_images(
        probability_model(teacher.model),
        teacher.preprocessing,
        args.data,
        batch_size=args.batch_size,
        class_names=teacher.class_names or (),
        **options,
    )


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        end(ExitCode.WRONG_INPUT, f"Error: unknown arguments: {' '.join(argv[1:])}")
    args = flags.FLAGS
    try:
        if not args.output.endswith(".npz"):
            raise ValueError(
                f"`output` must end in .npz. Received: output={args.output!r}"
            )
        found = _label(args)
        found.save(args.output)
    except (ValueError, OSError, ImportError) as error:
        end_with(error)
    except tf.errors.OpError as error:
        text = f"Error: TensorFlow failed: {tf_reason(error)}"
        end(ExitCode.FAILURE, text)
    used = np.unique(found.answers)
    print(
        f"{args.output}: {len(found.rows)} images, {len(found.positions)} of them "
        f"distinct, in {len(used)} of {found.probabilities.shape[1]} classes"
    )


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(_main)


if __name__ == "__main__":
    run()
