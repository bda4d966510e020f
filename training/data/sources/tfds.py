"""TensorFlow Datasets."""

from __future__ import annotations

from typing import Any

from .base import Source, Split, with_validation
from .records import Layout, UnlabelledError, array_record_split, record_split

# Split here -> what data sets call it, in order of preference.
_SPELLINGS = {
    "train": ("train",),
    "validation": ("validation", "val", "dev"),
    "test": ("test",),
}


def tfds(name: str, data_dir: str | None = None) -> Source:
    """Opens a data set of TensorFlow Datasets, and fetches it first where needed.

    Its files are read directly, by position; images stay encoded.

    Args:
        name: "NAME", "NAME:VERSION" or "NAME/CONFIG:VERSION".
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.

    Returns:
        The source. In class names "_" stands for a slash. Without a validation split
        a tenth of each training class is held out by a fixed rule; a split without
        labels is left out.

    Raises:
        ValueError: TFDS does not have it or cannot fetch it, or it is no set of
            images with one label each.
        ImportError: tensorflow-datasets is not installed.
    """
    builder = _open_builder(name, data_dir)
    image, label = _features(builder, name)
    names = builder.info.features[label].names
    layout = Layout(image, label, first_label=0, classes=len(names))
    splits: dict[str, Split] = {}
    for split, spellings in _SPELLINGS.items():
        found = next((s for s in spellings if s in builder.info.splits), None)
        if found is not None and builder.info.splits[found].num_examples:
            try:
                splits[split] = _open_split(builder, found, layout)
            except UnlabelledError:
                continue
    if not splits:
        raise ValueError(
            "`data` must have one of the splits train, validation and test. Received: "
            f"data='tfds:{name}' with {', '.join(builder.info.splits) or 'none'}"
        )
    class_names = tuple(n.replace("/", "_").replace("\\", "_") for n in names)
    return Source(class_names, with_validation(splits))


def _open_builder(name: str, data_dir: str | None) -> Any:
    try:
        import tensorflow_datasets as datasets
    except ImportError as error:
        raise ImportError(
            "The source 'tfds:NAME' needs tensorflow-datasets: "
            "pip install 'efficientnet-keras[tfds]'"
        ) from error
    try:
        builder = datasets.builder(name, data_dir=data_dir)
        if not builder.is_prepared():
            builder.download_and_prepare()
    except (datasets.core.DatasetNotFoundError, AssertionError, OSError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            "`data` must name a data set that TFDS has or can fetch. "
            f"Received: data='tfds:{name}', data_dir={data_dir!r} ({told[0]})"
        ) from error
    return builder


def _features(builder: Any, name: str) -> tuple[str, str]:
    """Returns the names of the features with the image and the class."""
    keys, features = builder.info.supervised_keys, builder.info.features
    kinds = [type(features[key]).__name__ for key in keys or () if key in features]
    if kinds != ["Image", "ClassLabel"]:
        raise ValueError(
            "A data set must be of images with one label each. Received: "
            f"data='tfds:{name}' with supervised_keys={keys}"
        )
    return keys


def _open_split(builder: Any, split: str, layout: Layout) -> Split:
    info = builder.info.splits[split]
    paths = [str(path) for path in info.filepaths]
    if str(builder.info.file_format.value) == "array_record":
        return array_record_split(paths, layout)
    return record_split(paths, layout)
