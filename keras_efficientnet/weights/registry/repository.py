"""Records of timm models in repositories on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...architecture import find_variant
from ...preprocessing import CROP_MODES, NORMALIZATIONS
from .weight_file import WeightFile

HUB_PREFIX = "hf://"
WEIGHTS_NAME = "model.safetensors"
_REFERENCE = re.compile(
    r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?"
)
# Names of timm's networks that are the same as ours. Source: timm,
# models/efficientnet.py. The pruned EdgeTPU networks have the shapes of the others.
_ARCHITECTURES = re.compile(
    r"(?P<tf>tf_)?efficientnet(?:"
    r"_(?P<v1>b[0-8]|l2|lite[0-4])"
    r"|v2_(?P<v2>b[0-3]|s|m|l|xl)"
    r"|_e(?P<edgetpu>[sml])(?:_pruned)?)"
)
# Arguments of timm's factories that do not change the network, and values of others.
_HARMLESS = {"num_classes", "drop_rate", "drop_path_rate"}
_SAME = {"in_chans": (3,), "global_pool": ("avg", "")}
_INTERPOLATIONS = ("bicubic", "bilinear")  # as timm resizes: with antialiasing


class Repository(NamedTuple):
    """Name and revision of a repository on the Hugging Face Hub."""

    name: str  # "owner/name"
    revision: str | None  # commit, tag or branch; None: the default branch


def parse_reference(weights: str) -> Repository:
    """Parses "hf://OWNER/NAME" or "hf://OWNER/NAME@REVISION".

    Args:
        weights: Value of the argument `weights` that starts with `HUB_PREFIX`.

    Raises:
        ValueError: The text has another form.

    Example:
        >>> parse_reference("hf://timm/tf_efficientnetv2_s.in21k_ft_in1k@main")
        Repository(name='timm/tf_efficientnetv2_s.in21k_ft_in1k', revision='main')
    """
    match = _REFERENCE.fullmatch(weights)
    if match is None:
        raise ValueError(
            "`weights` must be 'hf://OWNER/NAME' or 'hf://OWNER/NAME@REVISION' for a "
            "repository on the Hugging Face Hub, such as "
            "'hf://timm/tf_efficientnetv2_s.in21k_ft_in1k'. "
            f"Received: weights={weights!r}"
        )
    return Repository(match["name"], match["revision"])


def make_record(weights: str, commit: str, url: str, config: Any) -> WeightFile:
    """Creates the record of a timm model from the config.json of its repository.

    Args:
        weights: Reference of the repository, as in `parse_reference`.
        commit: Commit that the config was read from.
        url: Address of the weight file at that commit.
        config: Parsed config.json, as timm's `push_to_hf_hub` writes it.

    Raises:
        ValueError: The network, or its preprocessing, is not one of ours.

    Source:
        timm, models/_hub.py: `save_config_for_hf`, `_parse_model_cfg`.
    """
    try:
        return _make_record(weights, commit, url, config)
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(
            f"The config.json of a repository must be timm's. Received: {weights} at "
            f"{commit}, where reading it failed ({type(error).__name__}: {error})"
        ) from error


def _make_record(weights: str, commit: str, url: str, config: Any) -> WeightFile:
    name = parse_reference(weights).name
    origin = f"{HUB_PREFIX}{name}@{commit}"
    match = _architecture(config, origin)
    # Older versions of timm wrote a flat file.
    values = {**config, **config.get("pretrained_cfg", {})}
    _check_arguments(config.get("model_args") or {}, origin)
    size = _image_size(values, origin)
    crop = float(values.get("test_crop_pct") or values.get("crop_pct") or 0.875)
    classes = int(config.get("num_classes", values.get("num_classes", 1000)))
    is_port = bool(match["tf"])
    return WeightFile(
        family=weights,
        publisher="huggingface",
        variant=_variant(match),
        include_top=classes > 0,
        url=url,
        checksum=None,
        normalization=_normalization(values, origin),
        resolution=size,
        top1=None,
        top1_source=None,
        source=f"Hugging Face Hub, {name} at {commit}",
        licence=str(values.get("license") or "unknown"),
        classes=classes,
        padding="same" if is_port else "symmetric",
        bn_epsilon=1e-3 if is_port else 1e-5,
        crop_ratio=size / int(size / crop),
        interpolation=_choice(values, "interpolation", _INTERPOLATIONS, origin),
        crop_mode=_choice(values, "crop_mode", CROP_MODES, origin),
        revision=commit,
        class_names=_class_names(values, classes),
    )


def _architecture(config: Any, origin: str) -> re.Match[str]:
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        kind = config.get("model_type") or config.get("architectures") or "unknown"
        raise ValueError(
            "A repository must hold a timm model, whose config.json names its "
            f"`architecture`. Received: {origin}, of model type {kind}"
        )
    match = _ARCHITECTURES.fullmatch(architecture)
    if match is None:
        raise ValueError(
            "`architecture` must be a network of this package: efficientnet_b0 to b8, "
            "l2, lite0 to lite4, es, em or el, or efficientnetv2_b0 to b3, s, m, l or "
            "xl, also with tf_ in front. "
            f"Received: architecture={architecture!r} in {origin}"
        )
    return match


def _variant(match: re.Match[str]) -> str:
    if match["v1"]:
        return find_variant(match["v1"])
    short = f"v2{match['v2']}" if match["v2"] else f"edgetpu{match['edgetpu']}"
    return find_variant(short)


def _check_arguments(arguments: Mapping[str, Any], origin: str) -> None:
    others = [
        f"{name}={value!r}"
        for name, value in arguments.items()
        if name not in _HARMLESS and value not in _SAME.get(name, ())
    ]
    if others:
        raise ValueError(
            "`model_args` of a repository must not change the network. "
            f"Received: {', '.join(others)} in {origin}"
        )


def _image_size(values: Mapping[str, Any], origin: str) -> int:
    size = values.get("test_input_size") or values["input_size"]
    channels, height, width = map(int, size)
    if channels != 3 or height != width:
        raise ValueError(
            "`input_size` of a repository must be (3, side, side). "
            f"Received: input_size={size} in {origin}"
        )
    return height


def _normalization(values: Mapping[str, Any], origin: str) -> str:
    mean, std = (np.array(values[key], float) * 255 for key in ("mean", "std"))
    for kind, (our_mean, our_std) in NORMALIZATIONS.items():
        same = (np.allclose(mean, our_mean, atol=0.01), np.allclose(std, our_std, 1e-4))
        if all(same):
            return kind
    raise ValueError(
        f"`mean` and `std` must be those of one of {', '.join(NORMALIZATIONS)}. "
        f"Received: mean={values['mean']}, std={values['std']} in {origin}"
    )


def _choice(
    values: Mapping[str, Any], key: str, choices: Sequence[str], origin: str
) -> str:
    value = values.get(key) or choices[0]
    if value not in choices:
        raise ValueError(
            f"`{key}` of a repository must be one of {', '.join(choices)}. "
            f"Received: {key}={value!r} in {origin}"
        )
    return str(value)


def _class_names(values: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    names = values.get("label_names")
    if isinstance(names, Mapping):  # by index, with gaps in some files
        names = [names.get(str(i)) for i in range(classes)]
    if not names or len(names) != classes or None in names:
        return None
    return tuple(map(str, names))
