"""Fused layers in the training step of `fit`, as a Keras callback."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import keras

from ..transfer import leaf_layers

_FLAG = threading.local()  # each replica of a strategy is traced in its own thread


class FusedLayers(keras.callbacks.Callback):
    """Speeds up `fit` on TensorFlow with fused layers in the training step.

    BatchNormalization becomes a single operation and, on CPUs, 1x1 convolutions become
    matrix products and swish is compiled to one pass. The outputs are those of
    Keras' layers up to rounding. Evaluation, prediction and saved files are not
    affected, because the layers keep their classes and are replaced inside the
    training step only. Works with any functional or sequential Keras model, nested
    models included. On JAX and PyTorch it has no effect, and warns.

    Example:
        >>> import keras, keras_efficientnet, numpy
        >>> model = keras.Sequential(
        ...     [keras.Input((8, 8, 3)), keras.layers.BatchNormalization()]
        ... )
        >>> model.compile("sgd", "mse")
        >>> x = numpy.ones((2, 8, 8, 3))
        >>> fused = keras_efficientnet.callbacks.FusedLayers()
        >>> history = model.fit(x, x, callbacks=[fused], verbose=0)
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Replaces the layers' calls and recompiles the training step."""
        del logs
        backend = keras.backend.backend()
        if backend != "tensorflow":
            warnings.warn(
                "`FusedLayers` must run on TensorFlow to have an effect. "
                f"Received: backend={backend}",
                stacklevel=2,
            )
            return
        # An earlier `fit` may have been interrupted before it could clean up.
        self.on_train_end()
        model = self.model
        for layer in leaf_layers(model):
            # A method that the user has put there would be skipped.
            if "call" not in vars(layer):
                layer.call = functools.partial(_call, layer, layer.call)
        model.train_step = functools.partial(_train_step, model.train_step)
        model.make_train_function(force=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Restores the original methods of the layers and the model."""
        del logs
        for layer in leaf_layers(self.model):
            if _is_ours(layer, "call", _call):
                del layer.__dict__["call"]
        if _is_ours(self.model, "train_step", _train_step):
            step = self.model.__dict__.pop("train_step").args[0]
            if step != self.model.train_step:
                self.model.train_step = step


def _is_ours(owner: Any, name: str, function: Callable[..., Any]) -> bool:
    method = vars(owner).get(name)
    return isinstance(method, functools.partial) and method.func is function


def _train_step(step: Callable[[Any], Any], data: Any) -> Any:
    _FLAG.is_set = True
    try:
        return step(data)
    finally:
        _FLAG.is_set = False


def _call(layer: Any, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    from .. import tf_fused_layers

    is_plain = len(args) == 1 and kwargs.get("mask") is None
    if getattr(_FLAG, "is_set", False) and is_plain and kwargs.get("training", True):
        fused = tf_fused_layers.fused_call(layer)
        if fused is not None:
            return fused(layer, args[0])
    return call(*args, **kwargs)
