r"""Top-1 and top-5 of a model, each image counted once.

python -m training.evaluate --model=runs/digits --data=digits --split=test
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_efficientnet.preprocessing import EvalPreprocessing

from . import data, run_folder, sources, strategy


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

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}  n={self.images}"


class Evaluator:
    """Evaluates one model any number of times; its step is traced once.

    Args:
        model: From images, 0 to 255, to logits or probabilities, (batch, classes).
        used_strategy: What the model was built under; None: the default.
        from_logits: Whether the model gives logits.
        label_smoothing: Of the loss; does not touch top-1 and top-5.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        used_strategy: tf.distribute.Strategy | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._strategy = used_strategy or strategy.make("one_device")
        replica_step = _make_replica_step(model, from_logits, label_smoothing)

        @tf.function(reduce_retracing=True)
        def step(images: Any, labels: Any, mask: Any) -> tf.Tensor:
            sums = self._strategy.run(replica_step, (images, labels, mask))
            return self._strategy.reduce("SUM", sums, axis=None)

        self._step = step

    def __call__(
        self, split: sources.Split, spec: EvalPreprocessing, batch_size: int
    ) -> Scores:
        """Scores every image of a split once.

        Args:
            split: Images and labels.
            spec: Resolution, padding and resize method.
            batch_size: Images per step, over all replicas.

        Raises:
            ValueError: An image cannot be read; the message names it.
        """
        batches = data.eval_batches(
            split, spec, batch_size=batch_size, strategy=self._strategy
        )
        sums = np.zeros(4)
        with data.naming_unreadable(split):
            for batch in batches:
                sums += self._step(*batch).numpy()
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
        labels: Class indices, (batch,), int32.
        logits: (batch, classes), any float; taken as float32.
        label_smoothing: Share of each label spread evenly over all classes.
    """
    logits = tf.cast(logits, tf.float32)
    classes = logits.shape[-1]
    targets = tf.one_hot(
        labels,
        classes,
        on_value=1.0 - label_smoothing + label_smoothing / classes,
        off_value=label_smoothing / classes,
    )
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def right_answers(labels: tf.Tensor, scores: tf.Tensor, top: int) -> tf.Tensor:
    """Tells which images have the right class among the `top` highest scores.

    Among equal scores the lower class index comes first, so that a network that
    gives the same score to every class gains nothing from that.

    Args:
        labels: Class indices, (batch,), int32.
        scores: (batch, classes), float.
        top: How many answers count; more than there are classes means all.

    Returns:
        (batch,), float32, 1 or 0.
    """
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


def load_model(path: str) -> tuple[keras.Model, EvalPreprocessing | None]:
    """Opens a run folder or a .keras file.

    Args:
        path: Of the run folder or the file.

    Returns:
        The model, and how its images are prepared; None when only the run folder
        would know.

    Raises:
        ValueError: There is no model there.
    """
    place = pathlib.Path(path).expanduser()
    if place.is_dir():
        folder = run_folder.RunFolder(place)
        if not folder.model.is_file():
            raise ValueError(
                f"`model` must be a finished run: {folder.model} is missing. "
                f"Received: model={path!r}"
            )
        return keras.saving.load_model(folder.model), folder.read_preprocessing()
    if place.suffix != ".keras" or not place.is_file():
        raise ValueError(
            f"`model` must be a run folder or a .keras file. Received: model={path!r}"
        )
    return keras.saving.load_model(place), None


def _define_flags() -> None:
    default = EvalPreprocessing(1)
    flags.DEFINE_string("model", None, "Run folder or .keras file.", required=True)
    flags.DEFINE_string("data", None, "digits or folder:DIR.", required=True)
    flags.DEFINE_string("split", "validation", "train, validation or test.")
    flags.DEFINE_integer("batch_size", 64, "Images per step.", lower_bound=1)
    flags.DEFINE_integer(
        "crop_padding", None, f"Of a .keras file; else {default.crop_padding} pixels."
    )
    flags.DEFINE_string("resize", None, f"Of a .keras file; else {default.resize}.")
    flags.DEFINE_string("output_dir", None, "Where scores.json goes, if anywhere.")


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
    args = flags.FLAGS
    try:
        model, spec = load_model(args.model)
        spec = spec or EvalPreprocessing(model.input_shape[1])
        given = {"crop_padding": args.crop_padding, "resize": args.resize}
        changes = {k: v for k, v in given.items() if v is not None}
        spec = dataclasses.replace(spec, **changes)
        source = sources.load(args.data)
        _check_classes(model, source)
        scores = evaluate(model, source.split(args.split), spec, args.batch_size)
    except ValueError as error:
        sys.exit(f"Error: {error}")
    print(scores)
    if args.output_dir:
        folder = pathlib.Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dataclasses.asdict(scores), indent=2)
        (folder / "scores.json").write_text(text + "\n", encoding="utf-8")


def _check_classes(model: keras.Model, source: sources.Source) -> None:
    if model.output_shape[-1] != len(source.class_names):
        raise ValueError(
            "`model` and `data` must have the same number of classes. Received: "
            f"{model.output_shape[-1]} and {len(source.class_names)}"
        )


def run() -> None:
    """Runs the command line."""
    _define_flags()
    app.run(_main)


if __name__ == "__main__":
    run()
