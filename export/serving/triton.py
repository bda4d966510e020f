"""Model repositories for Triton Inference Server.

python -m export.serving.triton runs/mine/export/model.onnx models --name=flowers
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode
from keras_efficientnet.common.files import publish, scratch_folder, write_text
from keras_efficientnet.common.sidecars import LABELS_FILE, write_labels

from ..runtimes import embedded
from ..runtimes.onnx import XML_FILE, open_onnx, open_openvino

CONFIG_FILE = "config.pbtxt"
MAX_BATCH_SIZE = 32  # images
QUEUE_DELAY = 2000  # longest time that a request waits for others, microseconds
_ONNX_FILE = "model.onnx"
_Labels = tuple[str, ...] | None
# Source: triton-inference-server/common, protobuf/model_config.proto.
_TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(uint8)": "TYPE_UINT8",
    "f32": "TYPE_FP32",
    "u8": "TYPE_UINT8",
}
_CONFIG = """\
name: {name}
backend: {backend}
default_model_filename: {file}
max_batch_size: {max_batch_size}
input [{{ name: {input.name} data_type: {input.dtype} dims: {input.dims} }}]
output [{{
  name: {output.name} data_type: {output.dtype} dims: {output.dims}{labels}
}}]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
instance_group [{{ kind: KIND_CPU }}]
model_warmup [{{
  name: "one image"
  batch_size: 1
  inputs {{
    key: {input.name}
    value {{ data_type: {input.dtype} dims: {input.dims} zero_data: true }}
  }}
}}]
"""


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """Input or output of a model, as config.pbtxt spells it.

    Attributes:
        name: Name in quotes.
        dtype: Name of the data type.
        dims: Shape without the batch.
    """

    name: str
    dtype: str
    dims: list[int]


def add_to_repository(
    artefact: Path,
    repository: Path,
    name: str,
    *,
    version: int = 1,
    max_batch_size: int = MAX_BATCH_SIZE,
) -> Path:
    """Copies an artefact into a model repository and configures dynamic batching.

    Args:
        artefact: An exported .onnx file or OpenVINO folder.
        repository: Folder of the repository, which need not exist yet.
        name: Name of the model in the repository.
        version: Version of the model, at least 1.
        max_batch_size: Largest batch that the server makes from several requests,
            images.

    Returns:
        Folder of the model, with config.pbtxt, labels.txt and a folder per version.

    Raises:
        ImportError: The runtime of the artefact is missing.
        ValueError: An argument is invalid, or the repository contains this version.
    """
    _check(name, version=version, max_batch_size=max_batch_size)
    folder = repository / name
    target = folder / str(version)
    if target.exists():
        raise ValueError(
            "`version` must be one that the repository does not contain yet. "
            f"Received: version={version} with {target}"
        )
    described = _describe_openvino if artefact.is_dir() else _describe_onnx
    source, output, labels = described(artefact)
    text = _CONFIG.format(
        name=json.dumps(name),
        backend=json.dumps("openvino" if artefact.is_dir() else "onnxruntime"),
        file=json.dumps(XML_FILE if artefact.is_dir() else _ONNX_FILE),
        max_batch_size=max_batch_size,
        input=source,
        output=output,
        labels=f" label_filename: {json.dumps(LABELS_FILE)}" if labels else "",
        delay=QUEUE_DELAY,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if labels:
        write_labels(labels, folder / LABELS_FILE)
    write_text(folder / CONFIG_FILE, text)
    # A running server must not load half a model.
    with scratch_folder(folder, f"models to {folder}") as scratch:
        copy = scratch / target.name
        if artefact.is_dir():
            shutil.copytree(artefact, copy)
        else:
            copy.mkdir()
            shutil.copy(artefact, copy / _ONNX_FILE)
        publish(copy, target)
    return folder


def _check(name: str, **numbers: int) -> None:
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise ValueError(
            "`name` must consist of letters, digits, '_', '-' and '.'. "
            f"Received: name={name!r}"
        )
    for key, value in numbers.items():
        if value < 1:
            raise ValueError(f"`{key}` must be at least 1. Received: {key}={value}")


def _describe_onnx(path: Path) -> tuple[_Tensor, _Tensor, _Labels]:
    session = open_onnx(path)
    (source,), (output,) = (
        # Dynamic dimensions have names.
        [
            _tensor(x.name, x.type, [n if isinstance(n, int) else -1 for n in x.shape])
            for x in tensors
        ]
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    return source, output, embedded.of_onnx(session, path).labels


def _describe_openvino(folder: Path) -> tuple[_Tensor, _Tensor, _Labels]:
    model = open_openvino(folder)

    def describe(port: Any) -> _Tensor:
        shape = port.get_partial_shape()
        dims = [-1 if n.is_dynamic else n.get_length() for n in shape]
        kind = port.get_element_type().get_type_name()
        return _tensor(port.get_any_name(), kind, dims)

    labels = embedded.of_openvino(folder / XML_FILE).labels
    return describe(model.input()), describe(model.output()), labels


def _tensor(name: str, kind: str, shape: Sequence[int]) -> _Tensor:
    if kind not in _TYPES:
        raise ValueError(
            f"The model's tensors must be of float32 or uint8. Received: {name!r} of "
            f"{kind}"
        )
    return _Tensor(json.dumps(name), _TYPES[kind], [*shape[1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Command-line arguments. Defaults to those of the process.

    Returns:
        Exit code: 0 for success, 2 for wrong input.
    """
    console.prepare_streams()
    parser = argparse.ArgumentParser(
        prog="python -m export.serving.triton",
        description="Adds an exported model to a Triton model repository.",
    )
    parser.add_argument("artefact", type=Path, help=".onnx file or OpenVINO folder")
    parser.add_argument("repository", type=Path, help="folder of the repository")
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument(
        "--max_batch_size",
        type=int,
        default=MAX_BATCH_SIZE,
        help=f"images in a batch at most; default: {MAX_BATCH_SIZE}",
    )
    values = parser.parse_args(arguments)
    try:
        folder = add_to_repository(**vars(values))
    except (ImportError, OSError, ValueError) as error:
        console.report(f"Error: {error}")
        return ExitCode.WRONG_INPUT
    print(f"Model: {folder}")
    return ExitCode.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
