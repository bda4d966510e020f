"""Inference in LiteRT on processors, where it gives the Keras model's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_efficientnet.litert.conversion import (
    COMPARED_IMAGES,
    MAX_DIFFERENCE,
    MIN_IMAGES,
    convert_to_litert,
)
from keras_efficientnet.litert.interpreters import InterpreterPool, usable_processors
from keras_efficientnet.preprocessing import EvalPreprocessing

from ..data import pipeline
from ..data.sources import Split
from ..engine import distribution


def accelerate(
    model: keras.Model, split: Split, spec: EvalPreprocessing
) -> Callable[..., tf.Tensor]:
    """Returns a function with the model's answers that uses all processors.

    Args:
        model: Model from RGB images, 0 to 255, to probabilities, (batch, classes).
        split: Images that will be classified; the first of them verify the answers.
        spec: Image size, crop ratio and resize method.

    Returns:
        Function that is called like `model`, in LiteRT with a thread per processor;
        `model` itself if there is a GPU or LiteRT is not installed, if there are few
        images, or if the answers differ by more than 1e-4.

    Raises:
        ValueError: An image cannot be read; the message names it.
    """
    if len(split) < MIN_IMAGES or tf.config.list_physical_devices("GPU"):
        return model
    try:
        fast = _LiteRTModel(model, spec.image_size)
    except (ImportError, ValueError, RuntimeError):
        return model
    first = split.take(np.arange(COMPARED_IMAGES))
    batches = pipeline.eval_batches(
        first,
        spec,
        batch_size=COMPARED_IMAGES,
        strategy=distribution.make_strategy("one_device"),
    )
    with pipeline.name_unreadable_image(first):
        images = next(iter(batches))[0]
    difference = np.abs(fast(images).numpy() - model(images, training=False).numpy())
    # A comparison with NaN is false.
    return fast if difference.max() <= MAX_DIFFERENCE else model


class _LiteRTModel:
    """LiteRT copy of a model that is called like it, also inside a tf.function."""

    def __init__(self, model: keras.Model, image_size: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = convert_to_litert(model, image_size)

        def open_interpreter() -> Any:
            interpreter = Interpreter(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
            return interpreter

        self._classes = model.output_shape[-1]
        self._pool = InterpreterPool(open_interpreter, usable_processors())

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        del training  # a copy is for inference only
        found = tf.numpy_function(self._classify, [images], tf.float32, stateful=False)
        found.set_shape((None, self._classes))
        return found

    def _classify(self, images: np.ndarray) -> np.ndarray:
        return np.concatenate(self._pool([image[np.newaxis] for image in images]))
