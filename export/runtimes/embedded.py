"""Labels, preprocessing and output activation stored in an artefact.

Artefacts of this package contain all three. For other artefacts, the output activation
is inferred from the end of the graph.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_efficientnet.common.output_activation import LINEAR, SIGMOID, SOFTMAX
from keras_efficientnet.common.sidecars import (
    LABELS_FILE,
    PREPROCESSING_FILE,
    Sidecars,
    check_labels,
    parse_labels,
    parse_preprocessing,
    read_sidecars,
)

from ..extras import require_openvino
from ..quantization.tflite_graph import Graph, Kind

EXTRA_ASSETS = (
    "assets.extra"  # folder of a SavedModel for files that TensorFlow ignores
)
WEB_SPEC = "model.json"
ONNX_LABELS, ONNX_PREPROCESSING = "labels", "preprocessing"
OPENVINO_SECTION = "model_info"
OPENVINO_LABELS, OPENVINO_PREPROCESSING = "class_names", "preprocessing"

# Names of operations in all formats, lower-case.
_ACTIVATIONS = {
    "softmax": SOFTMAX,
    "sigmoid": SIGMOID,
    "logistic": SIGMOID,
    "hardsigmoid": SIGMOID,
    "logsoftmax": LINEAR,
    "log_softmax": LINEAR,
    "gemm": LINEAR,
    "matmul": LINEAR,
    "fully_connected": LINEAR,
    "conv_2d": LINEAR,
    "biasadd": LINEAR,
    "add": LINEAR,
    "addv2": LINEAR,
}
_TRANSPARENT = {
    *("identity", "reshape", "squeeze", "flatten", "cast", "convert", "result"),
    *("quantize", "dequantize", "quantizelinear", "dequantizelinear", "noop"),
}
# Fields of the page's model.json; the last two are from pages before version 0.1.
_WEB_FIELDS = (
    *("image_size", "crop_ratio", "interpolation", "crop_mode", "output_activation"),
    *("reject_threshold", "thresholds", "crop_padding", "resize"),
)
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def of_tflite(content: bytes, name: str) -> Sidecars:
    """Reads the zip archive in the metadata of a .tflite file.

    Args:
        content: Content of the file.
        name: Name of the file, for errors.

    Raises:
        ValueError: The labels or the preprocessing are damaged.
    """
    found, stream = Sidecars(), io.BytesIO(content)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            members = archive.namelist()
            read = {
                member: archive.read(member).decode("utf-8-sig")
                for member in (LABELS_FILE, PREPROCESSING_FILE)
                if member in members
            }
        found = _parse(read.get(LABELS_FILE), read.get(PREPROCESSING_FILE), name)
    return _completed(found, lambda: _tflite_operations(content))


def of_onnx(session: Any, path: Path) -> Sidecars:
    """Reads the metadata of an .onnx file.

    Args:
        session: Session of ONNX Runtime.
        path: Path of the file.

    Raises:
        ValueError: The labels or the preprocessing are damaged.
    """
    texts = session.get_modelmeta().custom_metadata_map
    labels, fields = texts.get(ONNX_LABELS), texts.get(ONNX_PREPROCESSING)
    return _completed(_parse(labels, fields, str(path)), lambda: _onnx_operations(path))


def of_openvino(file: Path) -> Sidecars:
    """Reads the runtime information of an OpenVINO .xml file.

    Args:
        file: Path of the .xml file.

    Raises:
        ValueError: The labels or the preprocessing are damaged.
    """
    model = require_openvino().Core().read_model(str(file))

    def text(key: str) -> str | None:
        place = [OPENVINO_SECTION, key]
        return model.get_rt_info(place).value if model.has_rt_info(place) else None

    labels = text(OPENVINO_LABELS)
    names = None if labels is None else "\n".join(json.loads(labels))
    found = _parse(names, text(OPENVINO_PREPROCESSING), str(file))
    return _completed(found, lambda: _openvino_operations(model))


def of_saved_model(folder: Path, signature: Any) -> Sidecars:
    """Reads the extra assets of a SavedModel.

    Args:
        folder: Folder of the SavedModel.
        signature: Signature that classifies images.

    Raises:
        ValueError: The labels or the preprocessing are damaged.
    """
    found = read_sidecars(folder / EXTRA_ASSETS)
    return _completed(found, lambda: _saved_model_operations(signature))


def of_web(folder: Path) -> Sidecars:
    """Reads the model.json of a web folder.

    Args:
        folder: Folder of the page.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / WEB_SPEC
    if not path.is_file():
        return Sidecars()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        fields = {name: values[name] for name in _WEB_FIELDS if name in values}
        labels = tuple(values["labels"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"A web folder must contain the {WEB_SPEC} that it was exported with. "
            f"Received: {path} ({error!r})"
        ) from error
    # Pages without this field return probabilities.
    fields = {"output_activation": SOFTMAX} | fields
    found = parse_preprocessing(json.dumps(fields), str(path))
    return dataclasses.replace(found, labels=labels)


def _parse(labels: str | None, fields: str | None, name: str) -> Sidecars:
    found = Sidecars() if fields is None else parse_preprocessing(fields, name)
    if labels is None:
        return found
    names = parse_labels(labels)
    check_labels(names, len(names), name)
    return dataclasses.replace(found, labels=names)


def _completed(found: Sidecars, read: Any) -> Sidecars:
    if found.output_activation is not None:
        return found
    for operation in read():
        kind = operation.lower()
        if kind in _ACTIVATIONS:
            return dataclasses.replace(found, output_activation=_ACTIVATIONS[kind])
        if kind not in _TRANSPARENT:
            break
    return found


def _tflite_operations(content: bytes) -> Iterator[str]:
    """Yields the operations of a TFLite graph, from its output back."""
    try:
        graph = Graph(content)
    except ValueError:  # several subgraphs
        return
    names = {value: key for key, value in vars(Kind).items() if isinstance(value, int)}
    writers = {int(i): x for x in graph.operators for i in x.outputs}
    index = graph.outputs[0]
    while index in writers:
        operator = writers[index]
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0):
            return  # a ReLU of some kind
        yield names[graph.kind(operator)]
        index = int(operator.inputs[0])


def _onnx_operations(path: Path) -> Iterator[str]:
    try:
        import onnx
    except ImportError:  # ONNX Runtime does not need it
        return
    graph = onnx.load(str(path)).graph
    writers = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    while name in writers:
        yield writers[name].op_type
        name = writers[name].input[0]


def _openvino_operations(model: Any) -> Iterator[str]:
    node = model.get_results()[0]
    while True:
        yield node.get_type_name()
        if not node.get_input_size():
            return
        node = node.input_value(0).get_node()


def _saved_model_operations(signature: Any) -> Iterator[str]:
    definition = signature.graph.as_graph_def()
    functions = {f.signature.name: f for f in definition.library.function}
    nodes, reference = _by_name(definition.node), signature.outputs[0].name
    while (node := nodes.get(reference.split(":")[0])) is not None:
        if node.op in _CALLS:
            function = functions[node.attr["f"].func.name]
            place = int(reference.split(":")[-1]) if ":" in reference else 0
            reference = function.ret[function.signature.output_arg[place].name]
            nodes = _by_name(function.node_def)
            continue
        yield node.op
        if not node.input:
            return
        reference = node.input[0]


def _by_name(nodes: Iterable[Any]) -> dict[str, Any]:
    return {node.name: node for node in nodes}
