"""Name to tf.distribute strategy."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def make(name: str) -> tf.distribute.Strategy:
    """Makes a strategy by name.

    Args:
        name: Key of `STRATEGIES`: "auto" takes every GPU of this machine, or its
            processor; "one_device" the first GPU, or the processor; "mirrored"
            every GPU, or every logical processor device.
    """
    return STRATEGIES[name]()


def _auto() -> tf.distribute.Strategy:
    return _mirrored() if len(_devices("GPU")) > 1 else _one_device()


def _one_device() -> tf.distribute.Strategy:
    # The default strategy puts everything on the first device, without the wrapping
    # of variables and data that OneDeviceStrategy adds to every step.
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(_devices("GPU") or _devices("CPU"))


def _devices(kind: str) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices(kind)]


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one_device": _one_device,
    "mirrored": _mirrored,
}
