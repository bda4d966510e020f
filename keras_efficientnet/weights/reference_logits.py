"""Reference logits from the projects that weight files come from.

Each function imports its project; nothing else in the package needs them. The network
runs in a separate process, because PyTorch's compiler crashes a process that has
TensorFlow's loaded.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..architecture import VARIANTS, block_plan, find_variant
from .formats.base import Arrays
from .name_mapping import KERAS

INSTALL = "pip install torch timm efficientnet-pytorch torchvision transformers"
PACKAGES = {
    KERAS: "keras",
    "lukemelas": "efficientnet_pytorch",
    "timm": "timm",
    "torchvision": "torchvision",
    "transformers": "transformers",
}


def logits(
    scheme: str, variant: str, arrays: Arrays, images: np.ndarray, symmetric: bool
) -> np.ndarray:
    """Returns the logits of a project's own network.

    Args:
        scheme: Naming scheme of the weights, `Mapped.scheme`.
        variant: Name of the variant, a key of `VARIANTS`.
        arrays: Weights by their names in the project; for keras.applications by
            "layer/variable".
        images: Normalised images, (batch, height, width, 3), float32.
        symmetric: Whether to use PyTorch's padding, for timm, which has networks with
            either padding.

    Returns:
        Logits, (batch, classes), float32.

    Raises:
        ImportError: The project is not installed.
        ValueError: The project has no Python package that runs here, or the weights do
            not match its network.
    """
    if scheme not in PACKAGES:
        raise ValueError(
            f"The check supports weights of {', '.join(PACKAGES)}. "
            f"Received: names of {scheme!r}"
        )
    short = variant.removeprefix("EfficientNet").lower()
    if importlib.util.find_spec(PACKAGES[scheme]) is None:
        raise ImportError(f"The check needs {PACKAGES[scheme]}: {INSTALL}")
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder) / "task.npz", Path(folder) / "answer.npy"
        values: dict[str, Any] = {"names": list(arrays), "images": images}
        values |= {f"array_{i}": array for i, array in enumerate(arrays.values())}
        np.savez(task, **values)
        module = "keras_efficientnet.weights.reference_logits"
        backend = keras.backend.backend() if scheme == KERAS else "torch"
        run = subprocess.run(
            [sys.executable, "-m", module, scheme, short, str(symmetric), task, answer],
            env={**os.environ, "KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        if run.returncode != 0:
            reason = run.stderr.strip()[-500:] or f"exit status {run.returncode}"
            raise ValueError(f"The weights must match {scheme}'s network. {reason}")
        return np.load(answer)


def _main(scheme: str, short: str, symmetric: str, task: str, answer: str) -> None:
    with np.load(task) as content:
        names = content["names"].tolist()
        arrays = {name: content[f"array_{i}"] for i, name in enumerate(names)}
        if scheme == KERAS:
            np.save(answer, _keras_logits(short, arrays, content["images"]))
            return
        network = _BUILDERS[scheme](short, arrays, symmetric == "True")
        np.save(answer, _torch_logits(network, arrays, content["images"]))


def _keras_logits(short: str, arrays: Arrays, images: np.ndarray) -> np.ndarray:
    name = find_variant(short)
    if not hasattr(keras.applications, name):
        raise ValueError(f"keras.applications must have {name} for the check.")
    network = getattr(keras.applications, name)(
        weights=None,
        input_shape=images.shape[1:],
        classes=len(arrays["predictions/bias"]),
        classifier_activation=None,
    )
    # The layers before it normalise the image.
    layers = {layer.name: layer for layer in network.layers}
    # The second version has no layer that pads.
    start = layers.get("stem_conv_pad", layers["stem_conv"]).input
    rest = keras.Model(start, network.output)
    for layer in rest.layers:
        names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
        layer.set_weights([arrays[name] for name in names])
    return keras.ops.convert_to_numpy(rest(images))


def _torch_logits(network: Any, arrays: Arrays, images: np.ndarray) -> np.ndarray:
    import torch

    tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    network.load_state_dict(tensors)
    network.eval()
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    with torch.no_grad():
        outputs = network(torch.from_numpy(channels_first))
    return getattr(outputs, "logits", outputs).numpy()


def _lukemelas(short: str, arrays: Arrays, symmetric: bool) -> Any:
    from efficientnet_pytorch import EfficientNet

    del symmetric
    classes = len(arrays["_fc.bias"])
    # Without a size, its convolutions compute the padding for each image.
    return EfficientNet.from_name(
        f"efficientnet-{short}", num_classes=classes, image_size=None
    )


def _timm(short: str, arrays: Arrays, symmetric: bool) -> Any:
    import timm

    prefix = "" if symmetric else "tf_"
    classes = len(arrays["classifier.bias"])
    return timm.create_model(f"{prefix}{timm_name(short)}", num_classes=classes)


def timm_name(short: str) -> str:
    """Returns timm's name of a variant, such as "efficientnetv2_s".

    Args:
        short: Short name of the variant, such as "v2s" or "edgetpul".
    """
    if short.startswith("v2"):
        return f"efficientnetv2_{short[2:]}"
    return f"efficientnet_{short.replace('edgetpu', 'e')}"


def _torchvision(short: str, arrays: Arrays, symmetric: bool) -> Any:
    import torchvision

    del symmetric
    build = getattr(torchvision.models, f"efficientnet_{short.replace('v2', 'v2_')}")
    return build(num_classes=len(arrays["classifier.1.bias"]))


def _transformers(short: str, arrays: Arrays, symmetric: bool) -> Any:
    import transformers

    del symmetric
    variant = VARIANTS[find_variant(short)]
    config = transformers.EfficientNetConfig(
        width_coefficient=variant.width,
        depth_coefficient=variant.depth,
        image_size=variant.resolution,
        hidden_dim=variant.head_filters,
        depthwise_padding=list(_odd_blocks(short)),
        num_labels=len(arrays["classifier.bias"]),
    )
    return transformers.EfficientNetForImageClassification(config)


def _odd_blocks(short: str) -> tuple[int, ...]:
    """Lists the strided blocks whose input has an odd side at the variant's resolution.

    Source:
        transformers pads both sides of these equally, as TensorFlow does.
    """
    variant = VARIANTS[find_variant(short)]
    side, odd = -(-variant.resolution // 2), []
    for i, block in enumerate(block_plan(variant)):
        if block.stride == 2:
            odd += [i] if side % 2 else []
            side = -(-side // 2)
    return tuple(odd)


_BUILDERS: dict[str, Callable[[str, Arrays, bool], Any]] = {
    "lukemelas": _lukemelas,
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


if __name__ == "__main__":
    _main(*sys.argv[1:])
