"""Conversion of weight files between formats.

python -m keras_efficientnet.weights.convert EfficientNetB0/noisy-student b0.weights.h5
python -m keras_efficientnet.weights.convert model.ckpt b0.safetensors --names=timm
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .. import efficientnet
from ..architecture import VARIANTS, find_variant
from ..common.cli import console
from ..common.cli.exit_codes import ExitCode
from ..common.files import replacing
from ..common.recursion_limit import raised_recursion_limit
from ..preprocessing import NORMALIZATIONS
from . import assign, name_mapping, naming_schemes, reference_logits
from .download import fetch, hub
from .formats import reading, safetensors_file
from .formats.base import Arrays, layer_order
from .load import network_options, normalization_layer
from .registry.repository import HUB_PREFIX
from .registry.table import find, find_published_file, known_families
from .registry.weight_file import WeightFile

_SUFFIXES = (".weights.h5", ".keras", ".safetensors")
_NAMES = ("ours", "timm")
_TOLERANCE = 1e-4  # maximum difference of logits
_SEED = 0  # of the random image for the check


@dataclasses.dataclass(frozen=True)
class OpenedWeights:
    """Content of a weight file.

    Attributes:
        path: Path of the file.
        arrays: Arrays by their names in the file.
        mapped: The same arrays by our names.
        record: Record of the file if it is a published one, or None.
    """

    path: Path
    arrays: Arrays
    mapped: name_mapping.Mapped
    record: WeightFile | None


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    names: str = "ours",
    variant: str | None = None,
    ema: bool = True,
    check: bool = False,
    ignore: str | Sequence[str] = (),
    **options: Any,
) -> str:
    """Converts a weight file, and reads the result back to compare.

    Args:
        source: Path of a weight file; published weights as listed by `list_weights`,
            "EfficientNetB0/noisy-student"; or a repository of a timm model on the
            Hugging Face Hub, "hf://OWNER/NAME[@REVISION]".
        target: Path of the result: `.weights.h5`, `.keras` or `.safetensors`.
        names: Naming scheme of the result: "ours", or "timm" for `.safetensors`.
        variant: Variant that the weights belong to. Defaults to the one with their
            shapes.
        ema: Whether to prefer moving averages of the weights, if the file has them.
        check: Whether to compare logits with those of the project that the names belong
            to.
        ignore: Patterns of arrays to skip, as in `load_weights`.
        **options: Values of `normalization`, `padding` and `bn_epsilon` of the network,
            where the source does not determine them.

    Returns:
        A report, one fact per line.

    Raises:
        ImportError: A library required by a format or by the check is not installed.
        ValueError: An argument is out of its range, the weights do not match a known
            network, or the check failed. No file is written then.
    """
    target = Path(target)
    suffix = _suffix(target, names)
    read = _read(source, variant, ema, ignore)
    key = find_variant(variant) if variant else assign.guess_variant(read.mapped.arrays)
    if key is None:
        raise ValueError(
            "`variant` must be given because the shapes do not identify it. "
            "Received: variant=None"
        )
    model = _build(key, read, options)
    lines = _facts(read, key, model)
    if check:
        lines.append(_check(read, key, model))
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, shared=True) as unfinished:
        _write(model, unfinished, suffix, names)
        _compare(unfinished, model)
        digest = hashlib.sha256(unfinished.read_bytes()).hexdigest()
    size = target.stat().st_size / 1e6
    lines.append(
        f"written    {target}, {size:.1f} MB, in {names!r} names; read back equal"
    )
    lines.append(f"sha256     {digest}")
    return "\n".join(lines)


def _suffix(target: Path, names: str) -> str:
    suffix = next((s for s in _SUFFIXES if target.name.endswith(s)), None)
    if suffix is None:
        raise ValueError(
            f"`target` must end in {', '.join(_SUFFIXES)}. Received: target={target}"
        )
    if names not in _NAMES:
        raise ValueError(
            f"`names` must be one of {', '.join(_NAMES)}. Received: names={names!r}"
        )
    if names == "timm" and suffix != ".safetensors":
        raise ValueError(
            "`target` must end in .safetensors for timm's names. "
            f"Received: target={target}"
        )
    return suffix


def _read(
    source: str | os.PathLike[str],
    variant: str | None,
    ema: bool,
    ignore: str | Sequence[str],
) -> OpenedWeights:
    record = _published(str(source))
    is_verified = False
    if record:
        path = fetch.fetch(record)
        is_verified = bool(record.checksum)
    else:
        path = Path(source).expanduser()
        record = find_published_file(path)
    order = []
    if variant:
        order = layer_order(getattr(efficientnet, find_variant(variant))(weights=None))
    arrays = reading.read(path, order, ema, is_verified)
    mapped = name_mapping.to_model_names(arrays, ema=ema, ignore=ignore)
    return OpenedWeights(path, arrays, mapped, record)


def _published(source: str) -> WeightFile | None:
    if source.startswith(HUB_PREFIX):
        return hub.find_record(source)
    head, _, family = source.partition("/")
    is_listed = family in known_families() and not Path(source).exists()
    return find(family, head) if is_listed else None


def _build(key: str, read: OpenedWeights, options: dict[str, Any]) -> keras.Model:
    known = {"padding": read.mapped.padding}
    if read.record:
        known = {
            name: getattr(read.record, name)
            for name in ("normalization", "padding", "bn_epsilon")
        }
    for name, wanted in options.items():
        if wanted is not None and known.get(name) not in (None, wanted):
            raise ValueError(
                f"`{name}` must be {known[name]!r} for {read.path.name}. "
                f"Received: {name}={wanted!r}"
            )
    chosen = {**options, **{name: v for name, v in known.items() if v is not None}}
    bias = read.mapped.arrays.get("predictions/bias")
    model = getattr(efficientnet, key)(
        include_top=bias is not None,
        weights=None,
        classes=1000 if bias is None else len(bias),
        **chosen,
    )
    mapped = read.mapped
    assign.assign(model, mapped.arrays, mapped.ignored, source=str(read.path))
    return model


def _facts(read: OpenedWeights, key: str, model: keras.Model) -> list[str]:
    layers = {layer.name: layer for layer in model.layers}
    head = layers.get("predictions")
    ignored = read.mapped.ignored
    used = len(read.mapped.arrays)
    some = f", such as {ignored[0]}" if ignored else ""
    computes = network_options(model)
    sure = (
        ""
        if read.record or read.mapped.scheme != "timm"
        else (" (assumed: not determined by the names)")
    )
    return [
        f"source     {read.path}",
        f"published  {read.record.source if read.record else 'not a known file'}",
        f"names      {read.mapped.scheme}",
        f"network    {key}, {head.units if head else 'no'} classes, "
        f"{model.count_params():,} parameters",
        f"convention padding {computes['padding']}, "
        f"epsilon {computes['bn_epsilon']:g}{sure}",
        f"arrays     {used} used, each once; {len(ignored)} are not weights{some}",
    ]


@raised_recursion_limit()
def _check(read: OpenedWeights, key: str, model: keras.Model) -> str:
    layers = {layer.name: layer for layer in model.layers}
    if "predictions" not in layers:
        raise ValueError("`check` requires a classifier in the file.")
    side = VARIANTS[key].resolution
    rng = np.random.default_rng(_SEED)
    images = rng.integers(0, 256, (1, side, side, 3)).astype(np.float32)
    pooled = keras.Model(model.input, layers["avg_pool"].output)(images)
    kernel, bias = map(keras.ops.convert_to_numpy, layers["predictions"].weights)
    ours = keras.ops.convert_to_numpy(pooled) @ kernel + bias
    normalize = normalization_layer(layers)
    scale = np.array(normalize.scale, np.float32)
    offset = np.array(normalize.offset, np.float32)
    is_keras = read.mapped.scheme == name_mapping.KERAS
    theirs = reference_logits.logits(
        read.mapped.scheme,
        key,
        read.mapped.arrays if is_keras else read.arrays,
        images * scale + offset,
        symmetric=network_options(model)["padding"] == "symmetric",
    )
    difference = float(np.abs(ours - theirs).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(theirs).max())):
        raise ValueError(
            f"Logits must equal those of {read.mapped.scheme} within {_TOLERANCE}. "
            f"Received: a difference of {difference:.3g}"
        )
    return f"check      logits differ from {read.mapped.scheme}'s by {difference:.2g}"


def _write(model: keras.Model, path: Path, suffix: str, names: str) -> None:
    if suffix == ".keras":
        model.save(path)
    elif suffix == ".weights.h5":
        model.save_weights(path)
    else:
        safetensors_file.write(path, _named(model, names))


def _named(model: keras.Model, names: str) -> Arrays:
    layers = {layer.name for layer in model.layers}
    arrays: Arrays = {}
    for name, array in assign.get_weights(model).items():
        layer = name.split("/")[0]
        if names == "timm":
            name = naming_schemes.to_timm(name, layers)
            array = name_mapping.to_torch_layout(layer, array)
        arrays[name] = np.ascontiguousarray(array)
    return arrays


def _compare(path: Path, model: keras.Model) -> None:
    arrays = reading.read(path, layer_order(model), is_verified=True)
    again = name_mapping.to_model_names(arrays, model).arrays
    expected = assign.get_weights(model)
    if again.keys() != expected.keys() or not all(
        np.array_equal(again[name], array, equal_nan=True)
        for name, array in expected.items()
    ):
        raise ValueError(f"{path.name} must equal what was written, but does not.")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: Command-line arguments. Defaults to those of the process.

    Returns:
        Exit status.
    """
    console.prepare_streams()
    parser = argparse.ArgumentParser(
        prog="efficientnet-convert", description="Converts a weight file."
    )
    parser.add_argument(
        "source",
        help="path of a weight file, published weights VARIANT/FAMILY, or a repository "
        "hf://OWNER/NAME[@REVISION]",
    )
    parser.add_argument("target", help=f"path that ends in {', '.join(_SUFFIXES)}")
    parser.add_argument("--names", default="ours", help=" or ".join(_NAMES))
    parser.add_argument("--variant", help="EfficientNetB0 or other; default: by shapes")
    parser.add_argument(
        "--no_ema", action="store_true", help="use raw weights, not moving averages"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare logits with the original project"
    )
    parser.add_argument(
        "--ignore", default=[], action="append", help="pattern of arrays to skip"
    )
    parser.add_argument("--normalization", choices=[*NORMALIZATIONS])
    parser.add_argument("--padding", choices=["same", "symmetric"])
    parser.add_argument("--bn_epsilon", type=float)
    values = parser.parse_args(arguments)
    try:
        report = convert(
            values.source,
            values.target,
            names=values.names,
            variant=values.variant,
            ema=not values.no_ema,
            check=values.check,
            ignore=values.ignore,
            normalization=values.normalization,
            padding=values.padding,
            bn_epsilon=values.bn_epsilon,
        )
    except (ImportError, OSError, ValueError) as error:
        console.report(f"efficientnet-convert: {error}")
        return ExitCode.WRONG_INPUT
    print(console.lines(report))
    return ExitCode.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
