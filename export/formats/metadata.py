"""TFLite metadata: labels, preprocessing and descriptions of the tensors.

Apps read it through MediaPipe, ML Kit or Android Studio. The layout is TensorFlow
Lite's metadata schema: a flatbuffer inside the model's flatbuffer, and the labels and
the preprocessing in a zip archive appended to it.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_efficientnet.common.output_activation import LINEAR
from keras_efficientnet.common.sidecars import LABELS_FILE, PREPROCESSING_FILE

from ..quantization.tflite_graph import Graph
from .export_inputs import ExportInputs

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
# All fields used here are in the first version of the schema.
_MIN_PARSER_VERSION = "1.0.0"

# Values of the schema's enums and unions.
_COLOURS = {1: 2, 3: 1, 4: 0}  # by channels: greyscale, RGB, unknown
_TEXT = {1: "Grey", 3: "RGB", 4: "RGBA"}
_IMAGE_PROPERTIES, _FEATURE_PROPERTIES = 2, 1
_NORMALIZATION_OPTIONS, _SCORE_THRESHOLDING_OPTIONS = 1, 3
_TENSOR_AXIS_LABELS = 2

# Adds a table or vector to a builder and returns its offset.
Part = Callable[[flatbuffers.Builder], int]


def pack_with_metadata(graph: Graph, source: ExportInputs) -> bytes:
    """Adds labels, preprocessing and metadata to an image classifier.

    Args:
        graph: Network with one input, pixels, and one output, scores of classes.
        source: Model that the graph was made from.

    Returns:
        Content of a .tflite file. Runtimes without support for metadata ignore it.
    """
    (image,) = graph.inputs
    is_float = graph.tensors[image].type == schema.TensorType.FLOAT32
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_metadata(is_float, source), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, len(graph.model.buffers)
    graph.model.buffers.append(buffer)
    graph.model.metadata = [*(graph.model.metadata or []), entry]
    texts = {
        LABELS_FILE: source.labels_text,
        PREPROCESSING_FILE: source.preprocessing_text,
    }
    return _append_files(graph.pack(), texts)


def _append_files(content: bytes, texts: Mapping[str, str]) -> bytes:
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in texts.items():
            # A fixed date, so that the same model gives the same bytes.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, text)
    return file.getvalue()


def _metadata(is_float: bool, source: ExportInputs) -> bytes:
    """Builds the inner flatbuffer, a ModelMetadata."""
    description = f"{source.model.name} with {len(source.labels)} classes."
    is_linear = source.output_activation == LINEAR
    pixels = _table(
        _text("image"),
        _text(f"{_TEXT[source.channels]} pixels, 0 to 255."),
        None,
        _table(_Byte(_IMAGE_PROPERTIES), _table(_Byte(_COLOURS[source.channels]))),
        # Normalisation is part of the model, so this is the identity. Integer models
        # take raw bytes, and no normalisation is expected.
        _vector(_table(_Byte(_NORMALIZATION_OPTIONS), _table(_floats(0), _floats(1))))
        if is_float
        else None,
        _table(_floats(255), _floats(0)),
    )
    scores = _table(
        _text("logit" if is_linear else "probability"),
        _text("Logit of each class." if is_linear else "Probability of each class."),
        None,
        _table(_Byte(_FEATURE_PROPERTIES), _table()),
        _score_threshold(source),
        None if is_linear else _table(_floats(1), _floats(0)),
        _vector(
            _table(
                _text(LABELS_FILE),
                _text("Names of the classes."),
                _Byte(_TENSOR_AXIS_LABELS),
            )
        ),
    )
    whole = _table(
        _text("ImageClassifier"),
        _text(description),
        None,
        _vector(_table(None, None, _vector(pixels), _vector(scores))),
        None,
        None,
        None,
        _text(_MIN_PARSER_VERSION),
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _score_threshold(source: ExportInputs) -> Part | None:
    """Makes MediaPipe return only classes that may reach their threshold.

    The schema has one threshold for all classes, so it is the lowest; the others are in
    the preprocessing.json. For images that are not recognised, no class is returned.
    """
    threshold = source.reject_threshold
    if source.thresholds is not None:
        threshold = min(source.thresholds)
    # It compares outputs, which the threshold of a probability does not fit here.
    if threshold is None or source.output_activation == LINEAR:
        return None
    options = _table(_Float(threshold))
    return _vector(_table(_Byte(_SCORE_THRESHOLDING_OPTIONS), options))


@dataclasses.dataclass(frozen=True)
class _Byte:
    """A field of one byte, stored in the table itself."""

    value: int


@dataclasses.dataclass(frozen=True)
class _Float:
    """A field of four bytes, stored in the table itself."""

    value: float


def _text(text: str) -> Part:
    return lambda builder: builder.CreateString(text)


def _floats(*values: float) -> Part:
    def build(builder: flatbuffers.Builder) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependFloat32(value)
        return builder.EndVector()

    return build


def _vector(*tables: Part) -> Part:
    def build(builder: flatbuffers.Builder) -> int:
        places = [table(builder) for table in tables]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()

    return build


def _table(*fields: Part | _Byte | _Float | None) -> Part:
    """Makes a table of fields in the order of the schema; None omits a field."""

    def build(builder: flatbuffers.Builder) -> int:
        # The targets of a table's references must be written before the table.
        values: list[Any] = [
            field(builder) if callable(field) else field for field in fields
        ]
        builder.StartObject(len(values))
        for slot, value in enumerate(values):
            if isinstance(value, _Byte):
                builder.PrependInt8Slot(slot, value.value, 0)
            elif isinstance(value, _Float):
                builder.PrependFloat32Slot(slot, value.value, 0.0)
            elif value is not None:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    return build
