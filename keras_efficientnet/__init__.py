"""EfficientNet for Keras 3: models, compound scaling and published weights."""

from .common.cli import startup as _startup

try:
    _startup.hide_startup_lines()  # before Keras imports TensorFlow
    _startup.import_keras()
    import keras as _keras
except ModuleNotFoundError as error:
    from .common.cli import missing_packages as _missing_packages

    _missing_packages.end_program(error)
    raise ImportError(
        "Keras must have a backend: install tensorflow, or install jax or torch and "
        f"set KERAS_BACKEND to its name. Received: {error}"
    ) from error

import importlib as _importlib
from typing import Any as _Any

from . import augmentation as augmentation  # registers its layer
from . import saving as saving
from .architecture import VARIANTS
from .cost import Cost, fit_budget, plan_cost, profile
from .efficientnet import (
    EfficientNet,
    EfficientNetB0,
    EfficientNetB1,
    EfficientNetB2,
    EfficientNetB3,
    EfficientNetB4,
    EfficientNetB5,
    EfficientNetB6,
    EfficientNetB7,
    EfficientNetB8,
    EfficientNetEdgeTPUL,
    EfficientNetEdgeTPUM,
    EfficientNetEdgeTPUS,
    EfficientNetL2,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    EfficientNetLite3,
    EfficientNetLite4,
    EfficientNetV2B0,
    EfficientNetV2B1,
    EfficientNetV2B2,
    EfficientNetV2B3,
    EfficientNetV2L,
    EfficientNetV2M,
    EfficientNetV2S,
    EfficientNetV2XL,
    from_phi,
)
from .explain import class_maps
from .preprocessing import EvalPreprocessing, decode_predictions, preprocess_input
from .scaling import Scaling, compound, round_filters, round_repeats
from .stages import STAGES, Stage, format_stages, read_stages
from .transfer import check_input_range, feature_extractor, freeze, reset_classifier
from .weights import WeightFile, list_weights, load_weights, weights_info

if hasattr(_keras, "ops"):
    # Importing these also registers their classes, which Keras needs to load models.
    from . import callbacks as callbacks
    from . import optimizers as optimizers
    from . import schedules as schedules

__version__ = "0.1.0"

__all__ = [
    "STAGES",
    "VARIANTS",
    "Cost",
    "EfficientNet",
    "EfficientNetB0",
    "EfficientNetB1",
    "EfficientNetB2",
    "EfficientNetB3",
    "EfficientNetB4",
    "EfficientNetB5",
    "EfficientNetB6",
    "EfficientNetB7",
    "EfficientNetB8",
    "EfficientNetEdgeTPUL",
    "EfficientNetEdgeTPUM",
    "EfficientNetEdgeTPUS",
    "EfficientNetL2",
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "EfficientNetV2B0",
    "EfficientNetV2B1",
    "EfficientNetV2B2",
    "EfficientNetV2B3",
    "EfficientNetV2L",
    "EfficientNetV2M",
    "EfficientNetV2S",
    "EfficientNetV2XL",
    "EvalPreprocessing",
    "Scaling",
    "Stage",
    "WeightFile",
    "check_input_range",
    "class_maps",
    "compound",
    "decode_predictions",
    "feature_extractor",
    "fit_budget",
    "format_stages",
    "freeze",
    "from_phi",
    "list_weights",
    "load_weights",
    "plan_cost",
    "preprocess_input",
    "profile",
    "read_stages",
    "reset_classifier",
    "round_filters",
    "round_repeats",
    "weights_info",
]


def __getattr__(name: str) -> _Any:
    # Reached under Keras 2.15 only: the import raises an error that names substitutes.
    if name in ("callbacks", "optimizers", "schedules"):
        return _importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
