"""Export to a web page that classifies photos in the browser."""

from __future__ import annotations

import dataclasses
import html
import importlib.resources
import json
from pathlib import Path

import keras
import numpy as np

from keras_efficientnet import explain
from keras_efficientnet.architecture import VARIANTS
from keras_efficientnet.common.output_activation import (
    SIGMOID,
    SOFTMAX,
    probability_model,
)
from keras_efficientnet.preprocessing.tf_files import LUMA

from ..runtimes.embedded import WEB_SPEC
from ..runtimes.web import MODEL_FILE
from . import npm, tflite
from .export_inputs import ExportInputs

RUNTIME_FOLDER = "litert"
PAGE_FILES = (
    "index.html",
    "style.css",
    "app.js",
    "worker.js",
    "preprocessing.js",
    "maps.js",
    "service_worker.js",
    "icon.svg",
    "LICENSE.txt",
)
MANIFEST = "manifest.webmanifest"
_DEFAULT_TITLE = b"Image classifier"  # in index.html

CORE = npm.Package(
    "@litertjs/core",
    "2.5.3",
    "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1k"
    "CnN4nzWoyJQ==",
)
WASM_UTILS = npm.Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdF"
    "awteZ/sI1kQ==",
)
_ENTRY = "dist/index.js"
# Two of the four builds of the runtime: those that need neither threads, for which the
# server would have to send special headers, nor a browser with JSPI. The page loads one
# of them; "compat" is for browsers without relaxed SIMD.
_BUILDS = (
    "litert_wasm_internal.js",
    "litert_wasm_internal.wasm",
    "litert_wasm_compat_internal.js",
    "litert_wasm_compat_internal.wasm",
)
_NOTICE = f"""\
This folder contains parts of LiteRT.js, copyright Google LLC, under the Apache License
2.0 (see ../LICENSE.txt), from the npm packages {CORE.requirement} and
{WASM_UTILS.requirement}. core.js is the former's {_ENTRY}, with one change: it imports
wasm-utils.js by its path.
"""


def write(source: ExportInputs, path: Path) -> tuple[str, ...]:
    """Writes a page that classifies photos, as a folder for any static web server.

    The network runs in the browser, so photos stay on the device. The folder contains
    everything that the page needs, and a service worker caches it for offline use.
    Cropping and resizing are those of evaluation.

    Args:
        source: The network, its labels, its preprocessing and the page's title.
        path: Path of the folder.

    Returns:
        A remark on the download size.

    Raises:
        OSError: LiteRT.js is not cached and cannot be downloaded; see `npm.fetch`.
        ValueError: The checksum of LiteRT.js does not match, or the network uses an
            operation that TFLite lacks.
    """
    # Steps that may fail come before the folder is made, the quickest first.
    files = {name: _page_file(name) for name in PAGE_FILES} | _runtime_files()
    files[MODEL_FILE], maps = _model(source)
    files[WEB_SPEC] = _spec(source, len(files[MODEL_FILE]), maps)
    title = source.title or _model_name(source)
    in_html = html.escape(title).encode()
    files["index.html"] = files["index.html"].replace(_DEFAULT_TITLE, in_html)
    files[MANIFEST] = _manifest(title)
    (path / RUNTIME_FOLDER).mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return (_size_remark(files),)


def _page_file(name: str) -> bytes:
    return (
        importlib.resources.files(__package__).joinpath("web_assets", name).read_bytes()
    )


def _runtime_files() -> dict[str, bytes]:
    members = [_ENTRY, *(f"wasm/{name}" for name in _BUILDS)]
    core = npm.read_members(CORE, members)
    utils = npm.read_members(WASM_UTILS, [_ENTRY])
    files = {name: core[f"wasm/{name}"] for name in _BUILDS}
    files["core.js"] = _without_source_map(_import_by_path(core[_ENTRY]))
    files["wasm-utils.js"] = _without_source_map(utils[_ENTRY])
    files["NOTICE.txt"] = _NOTICE.encode()
    return {f"{RUNTIME_FOLDER}/{name}": content for name, content in files.items()}


def _import_by_path(code: bytes) -> bytes:
    # Browsers do not resolve package names, and workers have no import maps.
    by_name = f'"{WASM_UTILS.name}"'.encode()
    if code.count(by_name) != 1:
        raise ValueError(
            f"{CORE.requirement} must import {WASM_UTILS.name!r} once. "
            f"Received: {code.count(by_name)} times"
        )
    return code.replace(by_name, b'"./wasm-utils.js"')


def _without_source_map(code: bytes) -> bytes:
    return code.split(b"//# sourceMappingURL=")[0]


def _model(source: ExportInputs) -> tuple[bytes, dict[str, int] | None]:
    """Returns the network's file and the offset of the class maps' weights in it."""
    # The page shows probabilities, and its photos are RGB.
    model = of_rgb(probability_model(source.model))
    found = explain.with_features(model, (SOFTMAX, SIGMOID))
    network = model if found is None else found[0]
    content = tflite.to_float16(tflite.convert(network, source.image_size)).pack()
    if found is None:
        return content, None
    # The page reads the weights of the classes from this file, so that they load once.
    weights = found[1].T.astype(np.float16)  # (classes, channels), as TFLite has them
    offset = content.find(weights.tobytes())
    if offset < 0:
        return content, None
    return content, {"offset": offset, "channels": weights.shape[1]}


def of_rgb(model: keras.Model) -> keras.Model:
    """Returns an equivalent network for RGB images.

    Args:
        model: Network for grey, RGB or RGBA images; RGBA images become opaque.
    """
    _, *size, channels = model.inputs[0].shape
    if channels == 3:
        return model
    images = keras.Input((*size, 3))
    if channels == 1:
        inner = keras.ops.sum(
            images * np.array(LUMA, np.float32), axis=-1, keepdims=True
        )
    else:
        opaque = 255 + 0 * images[..., :1]
        inner = keras.ops.concatenate([images, opaque], axis=-1)
    return keras.Model(images, model(inner), name=model.name)


def _model_name(source: ExportInputs) -> str:
    # Keras' names are lower-case.
    name = source.model.name
    plain = name.lower().replace("-", "")
    return next((key for key in VARIANTS if key.lower() == plain), name)


def _manifest(title: str) -> bytes:
    """Returns the web app manifest, with which phones install the page."""
    icon = {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}
    fields = {
        "name": title,
        "short_name": title,
        "start_url": ".",
        "display": "standalone",
        "background_color": "#f5f6f8",
        "theme_color": "#f5f6f8",
        "icons": [icon],
    }
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def _spec(source: ExportInputs, model_bytes: int, maps: dict[str, int] | None) -> bytes:
    outputs = int(source.model.outputs[0].shape[-1])
    is_independent = source.output_activation == SIGMOID and outputs > 1
    fields = {
        "name": _model_name(source),
        "model": MODEL_FILE,
        "model_bytes": model_bytes,
        "maps": maps,
        **dataclasses.asdict(source.preprocessing),
        # Logits and single sigmoids have been converted to probabilities.
        "output_activation": SIGMOID if is_independent else SOFTMAX,
        **({} if source.thresholds is None else {"thresholds": source.thresholds}),
        "labels": source.labels,
    }
    if source.reject_threshold is not None:
        fields["reject_threshold"] = source.reject_threshold
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def _size_remark(files: dict[str, bytes]) -> str:
    build = [f"{RUNTIME_FOLDER}/{name}" for name in _BUILDS[2:]]
    unused = sum(len(files[name]) for name in build)
    loaded = sum(len(content) for content in files.values()) - unused
    return (
        f"A browser downloads {loaded / 1e6:.1f} MB of it; the network is "
        f"{len(files[MODEL_FILE]) / 1e6:.1f} MB."
    )
