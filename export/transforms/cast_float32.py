"""The network as it is deployed."""

from __future__ import annotations

from typing import Any

import keras


def inference_model(model: keras.Model) -> keras.Model:
    """Returns the network with all of its layers computing in float32.

    Mixed precision is for training: its float16 casts are slow or impossible on the
    processors that artefacts run on.

    Args:
        model: Any functional or sequential model.

    Returns:
        `model` itself when it computes in float32 already, else a copy.
    """
    config = model.get_config()
    wanted = _in_float32(config)
    if wanted == config:
        return model
    copy = model.__class__.from_config(wanted)
    copy.set_weights([weight.astype("float32") for weight in model.get_weights()])
    return copy


def _in_float32(config: Any) -> Any:
    # Policies sit at any depth: in layers, in layers of nested models, in wrappers.
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config | {"config": {"name": "float32"}}
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(value) for value in config)
    return config
