r"""Top-1 and top-5 of a model, each image counted once.

python -m training.evaluate --model=runs/digits --data=digits --split=test
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_efficientnet.common import console
from keras_efficientnet.common.files import write_text
from keras_efficientnet.common.plain_text import tf_reason
from keras_efficientnet.preprocessing import EvalPreprocessing

from . import opening
from .data import pipeline, sources
from .engine import distribution
from .metrics import predictions
from .reporting import plots

Z_95 = 1.959963985  # 97.5% of a normal distribution is under so many deviations


@dataclasses.dataclass(frozen=True)
class Scores:
    """What an evaluation found.

    Attributes:
        images: How many were scored.
        loss: Mean cross-entropy, nats.
        top1: Ratio of images whose first answer is right.
        top5: Ratio of images with the right answer among the first five.
    """

    images: int
    loss: float
    top1: float
    top5: float

    @property
    def top1_interval(self) -> tuple[float, float]:
        """95% interval of `top1`, ratios."""
        return wilson_interval(round(self.top1 * self.images), self.images)

    @property
    def top5_interval(self) -> tuple[float, float]:
        """95% interval of `top5`, ratios."""
        return wilson_interval(round(self.top5 * self.images), self.images)

    def __str__(self) -> str:
        (low1, high1), (low5, high5) = self.top1_interval, self.top5_interval
        return (
            f"top-1 {self.top1:.2%} ({low1:.2%} to {high1:.2%})  "
            f"top-5 {self.top5:.2%} ({low5:.2%} to {high5:.2%})  n={self.images}"
        )


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """Returns the 95% interval of a share, as Wilson's score method gives it.

    Args:
        right: How many images were answered right.
        images: Out of how many; at least 1.

    Returns:
        Lowest and highest ratio.

    Source:
        E. B. Wilson, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> [round(share, 4) for share in wilson_interval(81, 263)]
        [0.2553, 0.3662]
    """
    share, rest = right / images, Z_95**2 / images
    centre = share + rest / 2
    spread = Z_95 * math.sqrt((share * (1 - share) + rest / 4) / images)
    low, high = (centre - spread) / (1 + rest), (centre + spread) / (1 + rest)
    return (low if right else 0.0), (high if right < images else 1.0)


class Evaluator:
    """Evaluates one model any number of times; its step is traced once.

    Args:
        model: From images, 0 to 255, to logits or probabilities, (batch, classes).
        used_strategy: What the model was built under; None: the default.
        from_logits: Whether the model gives logits.
        label_smoothing: Of the loss; does not touch top-1 and top-5.

    Attributes:
        bad_images: Names of images that could not be decoded and were left out.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        used_strategy: tf.distribute.Strategy | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._strategy = used_strategy or distribution.make("one_device")
        self.bad_images: dict[str, None] = {}  # a set that keeps its order
        replica_step = _make_replica_step(model, from_logits, label_smoothing)

        @tf.function(reduce_retracing=True)
        def step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
            sums = self._strategy.run(replica_step, (images, labels, mask))
            return self._strategy.reduce("SUM", sums, axis=None)

        self._step = step

    def __call__(
        self,
        split: sources.Split,
        spec: EvalPreprocessing,
        batch_size: int,
        skip_bad_images: bool = False,
    ) -> Scores:
        """Scores every image of a split once.

        Args:
            split: Images and labels.
            spec: Resolution, padding and resize method.
            batch_size: Images per step, over all replicas.
            skip_bad_images: Whether to leave out images that cannot be decoded, which
                are then noted in `bad_images`.

        Raises:
            ValueError: An image cannot be read, or too many; the message names some.
        """
        bad_images = pipeline.BadImages(split) if skip_bad_images else None
        batches = pipeline.eval_batches(
            split,
            spec,
            batch_size=batch_size,
            strategy=self._strategy,
            bad_images=bad_images,
        )
        sums = np.zeros(4)
        with pipeline.naming_unreadable(split):
            for batch in batches:
                sums += self._step(*batch).numpy()
        if bad_images:
            bad_images.check(len(split))
            self.bad_images |= dict.fromkeys(bad_images.names)
        loss, top1, top5, images = sums
        return Scores(round(images), loss / images, top1 / images, top5 / images)


def evaluate(
    model: keras.Model,
    split: sources.Split,
    spec: EvalPreprocessing,
    batch_size: int = 64,
) -> Scores:
    """Scores every image of a split once.

    Args:
        model: From images, 0 to 255, to probabilities, (batch, classes).
        split: Images and labels.
        spec: Resolution, padding and resize method.
        batch_size: Images per step.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    return Evaluator(model)(split, spec, batch_size)


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, label_smoothing: float
) -> tf.Tensor:
    """Returns the cross-entropy of each image, (batch,), float32, nats.

    Args:
        labels: Class indices, (batch,), int32; or probabilities, (batch, classes),
            float32.
        logits: (batch, classes), any float; taken as float32.
        label_smoothing: Share of each label spread evenly over all classes.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    low = label_smoothing / classes
    high = 1.0 - label_smoothing + low
    if len(labels.shape) == 1:
        targets = tf.one_hot(labels, classes, on_value=high, off_value=low)
    else:
        targets = labels * (1.0 - label_smoothing) + low
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def right_answers(labels: tf.Tensor, scores: tf.Tensor, top: int) -> tf.Tensor:
    """Tells which images have the right class among the `top` highest scores.

    Among equal scores the lower class index comes first, so that a network that
    gives the same score to every class gains nothing from that.

    Args:
        labels: Class indices, (batch,), int32; or probabilities, (batch, classes),
            float32, of which the highest is the right class.
        scores: (batch, classes), float.
        top: How many answers count; more than there are classes means all.

    Returns:
        (batch,), float32, 1 or 0.
    """
    if len(labels.shape) == 2:
        labels = tf.argmax(labels, axis=1, output_type=tf.int32)
    top = min(top, scores.shape[-1])
    answers = tf.math.top_k(scores, top).indices
    hits = tf.reduce_any(answers == labels[:, tf.newaxis], axis=1)
    return tf.cast(hits, tf.float32)


def _make_replica_step(model: keras.Model, from_logits: bool, smoothing: float) -> Any:
    def replica_step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
        scores = model(images, training=False)
        tiny = keras.config.epsilon()
        logits = scores if from_logits else tf.math.log(tf.maximum(scores, tiny))
        columns = [
            cross_entropy(labels, logits, smoothing),
            right_answers(labels, scores, 1),
            right_answers(labels, scores, 5),
            tf.ones_like(mask),
        ]
        return tf.stack([tf.reduce_sum(column * mask) for column in columns])

    return replica_step


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Where to; `flags.FLAGS` for the command itself.
    """

    def string(
        name: str, default: str | None, text: str, *, required: bool = False
    ) -> None:
        flags.DEFINE_string(name, default, text, flag_values=values, required=required)

    default = EvalPreprocessing(1)
    model = "Run folder, .keras file or name of a variant."
    string("model", None, model, required=True)
    string("weights", "", "Of a variant: imagenet, or a file.")
    string("data", None, "What to score on, as for training.")
    string("data_dir", "", "Where TFDS keeps its data sets.")
    string("split", "validation", "train, validation or test.")
    string("images", None, "Or a folder of images without labels.")
    flags.DEFINE_integer(
        "batch_size", 64, "Images per step.", flag_values=values, lower_bound=1
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Where not known, pixels; else the model's own.",
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "crop_padding",
        None,
        f"Where not known: {default.crop_padding} pixels.",
        flag_values=values,
    )
    string("resize", None, f"Where not known: {default.resize}.")
    string("output_dir", None, "Where tables and pictures go.")
    string("server_file", None, "Made of --images, for the ILSVRC server.")
    string("ilsvrc_ids", None, "WordNet ids in the order of its numbers.")


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
    args = flags.FLAGS
    try:
        _run(args)
    except (ValueError, ImportError, OSError) as error:
        sys.exit(console.lines(f"Error: {error}"))
    except tf.errors.OpError as error:
        sys.exit(f"Error: TensorFlow cannot go on: {tf_reason(error)}")


def _run(args: Any) -> None:
    if (args.data is None) == (args.images is None):
        raise ValueError(
            "One of `data` and `images` must be given. "
            f"Received: data={args.data!r}, images={args.images!r}"
        )
    if bool(args.server_file) != bool(args.ilsvrc_ids and args.images):
        raise ValueError(
            "`server_file` needs `images` and `ilsvrc_ids`, which need it. Received: "
            f"server_file={args.server_file!r}, images={args.images!r}, "
            f"ilsvrc_ids={args.ilsvrc_ids!r}"
        )
    # First what may be wrong at once, then what takes time.
    for place in _places(args):
        place.mkdir(parents=True, exist_ok=True)
    ids = predictions.read_ilsvrc_ids(args.ilsvrc_ids) if args.ilsvrc_ids else {}
    opened = opening.open_model(args.model, args.weights)
    size = args.image_size or opened.model.input_shape[1]
    if not (opened.preprocessing or size):
        raise ValueError(
            "`image_size` must be given for a model that takes images of any size. "
            f"Received: model={args.model!r}"
        )
    spec = opened.preprocessing or EvalPreprocessing(size)
    fields = ("image_size", "crop_padding", "resize")
    changes = {k: getattr(args, k) for k in fields if getattr(args, k) is not None}
    spec = dataclasses.replace(spec, **changes)
    if args.images:
        names, split = opened.class_names, predictions.image_files(args.images)
    else:
        names, split = _labelled(opened, args)
    if names is None:
        names = tuple(f"class {i}" for i in range(opened.model.output_shape[-1]))
    found = predictions.predict(opened.model, split, spec, args.batch_size)
    shown = predictions.readable(names)
    if args.images:
        print(f"{len(split)} images answered")
    else:
        print(scores_of(found))
    if args.server_file:
        path = pathlib.Path(args.server_file).expanduser()
        predictions.write_server_file(found, names, ids, path)
    if args.output_dir:
        folder = pathlib.Path(args.output_dir).expanduser()
        _write(found, shown, folder, is_labelled=not args.images)


def _places(args: Any) -> list[pathlib.Path]:
    """Lists the folders that will be written into."""
    places = [pathlib.Path(args.output_dir).expanduser()] if args.output_dir else []
    if args.server_file:
        places.append(pathlib.Path(args.server_file).expanduser().parent)
    return places


def _labelled(
    opened: opening.OpenedModel, args: Any
) -> tuple[tuple[str, ...], sources.Split]:
    """Returns the model's classes and the split with labels that index them."""
    source = sources.load(args.data, data_dir=args.data_dir)
    split, outputs = source.split(args.split), opened.model.output_shape[-1]
    names = opened.class_names
    places = predictions.match_classes(source.class_names, names, outputs)
    labels = places[split.labels]
    return names or source.class_names, dataclasses.replace(split, labels=labels)


def scores_of(found: predictions.Predictions) -> Scores:
    """Returns the scores of answers for images with labels."""
    return Scores(
        images=len(found.labels),
        loss=float(found.losses.mean()),
        top1=float(found.is_top1.mean()),
        top5=float(found.is_top5.mean()),
    )


def _write(
    found: predictions.Predictions,
    class_names: tuple[str, ...],
    folder: pathlib.Path,
    is_labelled: bool,
) -> None:
    predictions.write_predictions(found, class_names, folder / "predictions.csv")
    if not is_labelled:
        return
    scores = scores_of(found)
    values = dataclasses.asdict(scores)
    values["top1_interval"] = scores.top1_interval
    values["top5_interval"] = scores.top5_interval
    text = json.dumps(values, indent=2)
    write_text(folder / "scores.json", text + "\n")
    predictions.write_per_class(found, class_names, folder / "per_class.csv")
    plots.draw_confusion(
        found.labels, found.answers[:, 0], class_names, folder / "confusion.png"
    )


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    app.run(_main)


if __name__ == "__main__":
    run()
