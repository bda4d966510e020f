"""Lists the images of folders and CSV files."""

from __future__ import annotations

import hashlib

from ..data import sources
from ..data.sources.base import relative
from .images import ImageEntry, ImageList

KINDS = ("folder", "csv")


def open_input(data: str) -> ImageList:
    """Lists the images of a folder or CSV file, with the trainer's splits.

    Args:
        data: "folder:DIR" or "csv:FILE", as in the trainer. Missing splits are held
            out in the same way.

    Raises:
        ValueError: It is another source, has no usable images, or weights images,
            which record files cannot hold.
    """
    if data.partition(":")[0] not in KINDS:
        raise ValueError(
            f"`data` must be folder:DIR or csv:FILE. Received: data={data!r}"
        )
    source = sources.load(data)
    source.check_trainable()
    digest = hashlib.sha256("\0".join(source.class_names).encode())
    splits = {}
    for name, split in source.splits.items():
        if split.weights is not None:
            raise ValueError(
                "`data` must not weight its images, because record files hold no "
                f"weights. Received: data={data!r} with a column of weights"
            )
        digest.update(f"\0{name}\0{split.digest()}".encode())
        rows = zip(relative(split.names), split.labels, split.names, strict=True)
        splits[name] = [ImageEntry(n, int(label), path) for n, label, path in rows]
    return ImageList(source.class_names, splits, digest.hexdigest())
