"""Table of export formats, one row each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_efficientnet.common.choices import did_you_mean

from ..runtimes.base import Runner, SavedModelRunner, TFLiteRunner
from ..runtimes.onnx import OnnxRunner, OpenVinoRunner
from ..runtimes.web import WebRunner
from . import onnx, openvino, saved_model, tflite, web
from .export_inputs import ExportInputs


@dataclasses.dataclass(frozen=True)
class Format:
    """Export format and the thresholds of its verification.

    Attributes:
        artefact: Name of the file or folder.
        about: Purpose, in a few words.
        write: Function that writes the artefact and returns remarks for the report,
            one sentence each.
        runner: Runner that opens the artefact.
        needs_calibration: Whether the format needs calibration images.
        max_difference: Largest allowed difference from Keras' probabilities; None
            for no limit.
        min_agreement: Smallest allowed share of images with the same top-1 class as
            Keras, 0 to 1.
        max_top1_loss: Largest allowed loss of top-1 accuracy, 0 to 1.
        packages: Optional packages that it needs.
    """

    artefact: str
    about: str
    write: Callable[[ExportInputs, Path], Sequence[str]]
    runner: Callable[[Path], Runner]
    needs_calibration: bool = False
    max_difference: float | None = 1e-4
    min_agreement: float = 1.0
    max_top1_loss: float = 0.0
    packages: tuple[str, ...] = ()


_ONNX = ("onnx", "onnxruntime", "tf2onnx")
# Rounding to 8 bits changes the probabilities of images that the network is unsure of,
# and with them some top-1 classes; so 3 in 100 may change, but hardly any correct
# answer may be lost.
_INT8_LIMITS: dict[str, Any] = {
    "max_difference": None,
    "min_agreement": 0.97,
    "max_top1_loss": 0.01,
}
FORMATS = {
    "saved_model": Format(
        artefact="saved_model",
        about="TensorFlow Serving and TensorFlow in any language",
        write=saved_model.write,
        runner=SavedModelRunner,
    ),
    "tflite": Format(
        artefact="model_float32.tflite",
        about="phones; exact results",
        write=tflite.write_float32,
        runner=TFLiteRunner,
    ),
    "tflite_float16": Format(
        artefact="model_float16.tflite",
        about="phone GPUs; half the size",
        write=tflite.write_float16,
        runner=TFLiteRunner,
        max_difference=2e-2,
        min_agreement=0.995,
        max_top1_loss=0.005,
    ),
    "tflite_dynamic": Format(
        artefact="model_dynamic.tflite",
        about="phone CPUs, without calibration images; a quarter of the size",
        write=tflite.write_dynamic,
        runner=TFLiteRunner,
        **_INT8_LIMITS,
    ),
    "tflite_int8": Format(
        artefact="model_int8.tflite",
        about="phones and integer accelerators; a quarter of the size",
        write=tflite.write_int8,
        runner=TFLiteRunner,
        needs_calibration=True,
        **_INT8_LIMITS,
    ),
    "tflite_int16x8": Format(
        artefact="model_int16x8.tflite",
        about="integer accelerators with 16-bit activations; slow on other processors",
        write=tflite.write_int16x8,
        runner=TFLiteRunner,
        needs_calibration=True,
        max_difference=None,
        min_agreement=0.995,
        max_top1_loss=0.005,
    ),
    "onnx": Format(
        artefact="model.onnx",
        about="ONNX Runtime, on servers and desktops",
        write=onnx.write,
        runner=OnnxRunner,
        packages=_ONNX,
    ),
    "openvino": Format(
        artefact="openvino",
        about="Intel processors",
        write=openvino.write,
        runner=OpenVinoRunner,
        packages=("openvino",),
    ),
    "onnx_int8": Format(
        artefact="model_int8.onnx",
        about="ONNX Runtime, in integers; a quarter of the size",
        write=onnx.write_int8,
        runner=OnnxRunner,
        packages=_ONNX,
        needs_calibration=True,
        **_INT8_LIMITS,
    ),
    "openvino_int8": Format(
        artefact="openvino_int8",
        about="Intel processors, in integers; a quarter of the size",
        write=openvino.write_int8,
        runner=OpenVinoRunner,
        packages=("openvino", *_ONNX),
        needs_calibration=True,
        **_INT8_LIMITS,
    ),
    "web": Format(
        artefact="web",
        about="a page that classifies photos in the browser, for any static web server",
        write=web.write,
        runner=WebRunner,
        max_difference=2e-2,
        min_agreement=0.995,
        max_top1_loss=0.005,
    ),
}
# Default formats, which need no optional package or program.
DEFAULTS = ("saved_model", "tflite", "tflite_int8")
# In place of a format: the one that is found to be the fastest on this machine.
FASTEST = "fastest"


def find_formats(names: Sequence[str]) -> dict[str, Format]:
    """Returns the requested rows of `FORMATS`, in the table's order.

    Args:
        names: Keys of `FORMATS`, "all", or "fastest", which selects no row.

    Raises:
        ValueError: A name is not in the table, or no name is given.
    """
    choices = [*FORMATS, "all", FASTEST]
    for name in names:
        if name not in choices:
            raise ValueError(
                f"`formats` must be among {', '.join(choices)}."
                f"{did_you_mean(name, choices)} Received: {name!r}"
            )
    if not names:
        raise ValueError(
            f"`formats` must name at least one of {', '.join(choices)}. Received: none"
        )
    return {k: row for k, row in FORMATS.items() if k in names or "all" in names}


def describe_formats() -> str:
    """Describes each format on one line, for help texts."""
    rows = [(key, f"{row.artefact}: {row.about}") for key, row in FORMATS.items()]
    rows.append((FASTEST, "the fastest format for servers on this machine"))
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key:<{width}}  {text}" for key, text in rows)
