"""Safe traversal of HDF5 files, shared by both layouts of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Arrays, bfloat16_to_float32, growth_bound, total_bound


def has_member(group: Any, name: str) -> bool:
    """Returns whether a group has a link of that name, wherever it points.

    Args:
        group: h5py group.
        name: Name of the link, without "/".
    """
    return bool(_links(group).exists(name.encode()))


def member(group: Any, path: str) -> Any:
    """Returns a group or dataset, without following soft or external links.

    Args:
        group: h5py group.
        path: Names separated by "/".

    Raises:
        ValueError: The member does not exist, or a link on the path is not a hard link.
            The target of such a link is not opened.
    """
    import h5py

    for name in filter(None, path.split("/")):
        if not has_member(group, name):
            raise ValueError(f"{group.name} has no member {name!r}")
        if _links(group).get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{group.name}/{name} is a link to another location")
        group = group[name]
    return group


def add_dataset(datasets: dict[str, Any], name: str, dataset: Any) -> None:
    """Adds a dataset under a unique name.

    Args:
        datasets: h5py datasets by "layer/variable".
        name: Name of the new dataset.
        dataset: h5py dataset.

    Raises:
        ValueError: The name exists already, as in a file of two networks.
    """
    if name in datasets:
        raise ValueError(
            f"it has {name} twice, in {datasets[name].name} and {dataset.name}; save "
            "the weights of one network alone"
        )
    datasets[name] = dataset


def read_datasets(datasets: dict[str, Any], file: Any) -> Arrays:
    """Reads datasets, with limits derived from the size of the file.

    Args:
        datasets: h5py datasets by name.
        file: h5py file that contains them.

    Raises:
        ValueError: The data lie outside the file, are not numbers, or claim to be far
            larger than what is stored.
    """
    for dataset in datasets.values():
        _check(dataset)
    total, stored = sum(d.nbytes for d in datasets.values()), file.id.get_filesize()
    if total > total_bound(stored):
        raise ValueError(f"it would expand from {stored} to {total} bytes")
    return {name: _read(dataset) for name, dataset in datasets.items()}


def _links(group: Any) -> Any:
    if not hasattr(group, "keys"):
        raise ValueError(f"{group.name} must be a group")
    return group.id.links


def _is_bfloat16(dataset: Any) -> bool:
    # Keras stores this as an attribute, because HDF5 has no bfloat16.
    itemsize = dataset.dtype.itemsize
    return itemsize == 2 and dataset.attrs.get("dtype") == "bfloat16"


def _check(dataset: Any) -> None:
    if hasattr(dataset, "keys"):
        raise ValueError(f"{dataset.name} must be a dataset")
    if dataset.dtype.kind not in "fiub" and not _is_bfloat16(dataset):
        raise ValueError(f"{dataset.name} must hold numbers, not {dataset.dtype}")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} refers to another file")
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > growth_bound(stored):
        raise ValueError(
            f"{dataset.name} claims {dataset.nbytes} bytes; {stored} are stored"
        )


def _read(dataset: Any) -> np.ndarray:
    array = np.asarray(dataset[()])
    if _is_bfloat16(dataset):
        return bfloat16_to_float32(array.view(np.uint16))
    return array
