"""Keras weights in HDF5 files and `.keras` archives, for any version of Keras."""

from __future__ import annotations

import io
from pathlib import Path

import h5py

from ...common.files import open_regular
from . import hdf5_keras2, hdf5_keras3
from .base import Arrays, LayerOrder, naming_file, open_zip, read_entry


def read(path: Path, layer_order: LayerOrder) -> Arrays:
    """Reads Keras weights in HDF5, without a sandbox.

    Args:
        path: Path of the file.
        layer_order: Class and name of each layer of the network, in order.

    Raises:
        ValueError: The file is damaged.
    """
    with open_regular(path) as stream:
        is_archive = stream.read(2) == b"PK"
    if is_archive:
        with naming_file(path, "a Keras archive"), open_zip(path) as archive:
            config = read_entry(archive, "config.json")
            layer_order = hdf5_keras3.read_layer_order(config)
            content = io.BytesIO(read_entry(archive, "model.weights.h5"))
            with h5py.File(content, "r") as file:
                return hdf5_keras3.read(file, layer_order)
    with naming_file(path, "Keras weights in HDF5"), h5py.File(path, "r") as file:
        if hdf5_keras2.is_legacy(file):
            return hdf5_keras2.read(file)
        return hdf5_keras3.read(file, layer_order)
