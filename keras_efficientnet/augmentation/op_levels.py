"""Augmentation operations by name and level, and their selection in a graph."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from . import image_ops

MAX_LEVEL = 10  # the nominal end; policies may go beyond

# Operations whose direction is random: either sign with equal probability.
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@dataclasses.dataclass(frozen=True)
class Setting:
    """Settings that turn a level into an operation's argument.

    Attributes:
        size: Side of the image in pixels.
        compat: "exact" or "fixed"; see docs/augmentation.md.
        translate: Largest translation in pixels.
        cutout: Half of the largest square's side in pixels.
        posterize_down: Whether a higher level keeps fewer bits, as in AugMix.
    """

    size: int
    compat: str
    translate: float
    cutout: float
    posterize_down: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the original implementation's bugs are reproduced."""
        return self.compat == "exact"


def _factor(level: float, setting: Setting) -> float:
    return level / MAX_LEVEL * 1.8 + 0.1


def _bits(level: float, setting: Setting) -> int:
    bits = int(level / MAX_LEVEL * 4)
    if setting.posterize_down:
        bits = 4 - bits
    if setting.is_exact:
        # The original shifts right, then left, by 8 - bits as uint8, at most by 7.
        return 8 - min((8 - bits) % 256, 7)
    return min(max(bits, 0), 8)


def _threshold(level: float, setting: Setting) -> int:
    threshold = int(level / MAX_LEVEL * 256)
    # The original stores it as uint8, so 256 becomes 0 and inverts everything.
    return threshold % 256 if setting.is_exact else min(threshold, 256)


def _centred(setting: Setting) -> dict[str, bool]:
    return {"centred": not setting.is_exact}


def _grey(setting: Setting) -> dict[str, int | None]:
    # The original divides the number of pixels by 256, not the sum of their values.
    return {"grey": min(setting.size**2 // 256, 255) if setting.is_exact else None}


def _nothing(setting: Setting) -> dict[str, None]:
    return {}


@dataclasses.dataclass(frozen=True)
class Operation:
    """Augmentation operation, with its arguments as functions of the level.

    Attributes:
        function: Function of `image_ops`.
        argument: Function from a level and a setting to the argument. None: the
            operation takes no argument.
        options: Function from a setting to the other arguments.
    """

    function: Callable[..., tf.Tensor]
    argument: Callable[[float, Setting], float] | None = None
    options: Callable[[Setting], Mapping[str, object]] = _nothing


# Source: tensorflow/tpu, autoaugment.py: `level_to_arg`.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": Operation(image_ops.auto_contrast),
    "Equalize": Operation(image_ops.equalize),
    "Invert": Operation(image_ops.invert),
    "Rotate": Operation(image_ops.rotate, lambda m, s: m / MAX_LEVEL * 30),
    "Posterize": Operation(image_ops.posterize, _bits),
    "Solarize": Operation(image_ops.solarize, _threshold),
    "SolarizeAdd": Operation(
        image_ops.solarize_add, lambda m, s: int(m / MAX_LEVEL * 110)
    ),
    "Color": Operation(image_ops.color, _factor),
    "Contrast": Operation(image_ops.contrast, _factor, _grey),
    "Brightness": Operation(image_ops.brightness, _factor),
    "Sharpness": Operation(image_ops.sharpness, _factor),
    "ShearX": Operation(image_ops.shear_x, lambda m, s: m / MAX_LEVEL * 0.3, _centred),
    "ShearY": Operation(image_ops.shear_y, lambda m, s: m / MAX_LEVEL * 0.3, _centred),
    "TranslateX": Operation(
        image_ops.translate_x, lambda m, s: m / MAX_LEVEL * s.translate
    ),
    "TranslateY": Operation(
        image_ops.translate_y, lambda m, s: m / MAX_LEVEL * s.translate
    ),
    "Cutout": Operation(image_ops.cutout, lambda m, s: int(m / MAX_LEVEL * s.cutout)),
}


def setting(size: int, compat: str, *, translate: float, cutout: float) -> Setting:
    """Creates a `Setting` from distances given for 224 pixels.

    Args:
        size: Side of the image in pixels.
        compat: "exact" keeps the distances at any size, "fixed" scales them.
        translate: Largest translation in pixels.
        cutout: Half of the largest square's side in pixels.
    """
    scale = 1.0 if compat == "exact" else size / 224
    return Setting(size, compat, translate * scale, cutout * scale)


class Chooser:
    """Selects operations in a graph, each at the levels that a policy uses."""

    def __init__(
        self, ops: Sequence[str], levels: Sequence[float], used: Setting
    ) -> None:
        self._levels = sorted(set(levels))
        self._ops = list(ops)
        self._used = used
        self.none = len(self._ops)

    def kind(self, op: str) -> int:
        """Returns the index of an operation, `kind` of `apply`."""
        return self._ops.index(op)

    def row(self, level: float) -> int:
        """Returns the index of a level, `row` of `apply`."""
        return self._levels.index(level)

    def apply(
        self, image: tf.Tensor, kind: tf.Tensor, row: image_ops.Pick, drawn: tf.Tensor
    ) -> tf.Tensor:
        """Applies an operation.

        Args:
            image: (size, size, 3), uint8.
            kind: Index of the operation, an int32 scalar; `none` changes nothing.
            row: Index of the level, an int32 scalar.
            drawn: Uniform random numbers: for the sign, and two for Cutout's centre.
        """
        branches = [
            functools.partial(self._run, op, image, row, drawn) for op in self._ops
        ]
        out = tf.switch_case(kind, [*branches, lambda: tf.identity(image)])
        return tf.ensure_shape(out, image.shape)

    def _run(
        self, op: str, image: tf.Tensor, row: image_ops.Pick, drawn: tf.Tensor
    ) -> tf.Tensor:
        operation = OPERATIONS[op]
        options = dict(operation.options(self._used))
        if operation.argument is None:
            return operation.function(image, **options)
        values = [operation.argument(level, self._used) for level in self._levels]
        if op in SIGNED:
            values = [v for value in values for v in (value, -value)]
            row = 2 * row + tf.cast(drawn[0] < 0.5, tf.int32)
        if op == "Cutout":
            options["centre"] = drawn[1:3]
        return operation.function(image, values, row, **options)
