"""Sources from TensorFlow Datasets (TFDS)."""

from __future__ import annotations

from typing import Any

from .base import Source, Split, with_validation
from .records import Layout, UnlabelledError, array_record_split, record_split

DOWNLOAD = "+download"  # suffix of a name: TFDS may download the data set

# Our split -> its names in TFDS, in order of preference.
_SPELLINGS = {
    "train": ("train",),
    "validation": ("validation", "val", "dev"),
    "test": ("test",),
}


def tfds(name: str, data_dir: str | None = None) -> Source:
    """Opens a data set of TensorFlow Datasets.

    Its files are read directly, by position; images stay encoded.

    Args:
        name: "NAME", "NAME:VERSION" or "NAME/CONFIG:VERSION". With the suffix
            "+download", a data set that is not prepared is downloaded first.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.

    Returns:
        The source. "_" replaces slashes in class names. If there is no validation
        split, a fixed rule holds out a tenth of each training class. Splits without
        labels are left out.

    Raises:
        ValueError: The data set is unknown, not prepared or cannot be downloaded, or
            does not consist of images with one label each.
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


def is_prepared(name: str, data_dir: str | None = None) -> bool:
    """Returns whether a data set can be opened without downloading it.

    Args:
        name: Name of the data set, as for `tfds`.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.

    Raises:
        ValueError: TFDS does not have the data set.
        ImportError: tensorflow-datasets is not installed.
    """
    return bool(_find_builder(name, data_dir).is_prepared())


def _open_builder(name: str, data_dir: str | None) -> Any:
    """Returns the builder of a data set that is prepared."""
    builder = _find_builder(name, data_dir)
    if builder.is_prepared():
        return builder
    if not name.endswith(DOWNLOAD):
        raise ValueError(_how_to_prepare(builder, name, data_dir))
    try:
        builder.download_and_prepare()
    except (AssertionError, OSError) as error:
        raise _unavailable(name, data_dir, error) from error
    return builder


def _find_builder(name: str, data_dir: str | None) -> Any:
    try:
        import tensorflow_datasets as datasets
    except ImportError as error:
        raise ImportError(
            "The source 'tfds:NAME' needs tensorflow-datasets: "
            "pip install 'efficientnet-keras[tfds]'"
        ) from error
    try:
        return datasets.builder(name.removesuffix(DOWNLOAD), data_dir=data_dir)
    except (datasets.core.DatasetNotFoundError, AssertionError, OSError) as error:
        raise _unavailable(name, data_dir, error) from error


def _unavailable(name: str, data_dir: str | None, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return ValueError(
        "`data` must name a data set that TFDS has or can download. "
        f"Received: data='tfds:{name}', data_dir={data_dir!r} ({reason[0]})"
    )


def _how_to_prepare(builder: Any, name: str, data_dir: str | None) -> str:
    """Returns the error text about a data set that is not prepared."""
    size = sum(int(info.size) for info in (builder.url_infos or {}).values())
    amount = f"{size / 1e9:,.1f} GB" if size else "of unknown size"
    by_hand = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
    if by_hand:
        by_hand = f" Some files must be downloaded by hand first: {by_hand}"
    return (
        f"`data` must be prepared by TFDS, which is a download ({amount}). To allow "
        f"it, use data='tfds:{name}{DOWNLOAD}'.{by_hand} "
        f"Received: data='tfds:{name}', data_dir={data_dir!r}"
    )


def _features(builder: Any, name: str) -> tuple[str, str]:
    """Returns the names of the features with the image and the class."""
    keys, features = builder.info.supervised_keys, builder.info.features
    kinds = [type(features[key]).__name__ for key in keys or () if key in features]
    if kinds != ["Image", "ClassLabel"]:
        raise ValueError(
            "A data set must consist of images with one label each. Received: "
            f"data='tfds:{name}' with supervised_keys={keys}"
        )
    return keys


def _open_split(builder: Any, split: str, layout: Layout) -> Split:
    info = builder.info.splits[split]
    paths = [str(path) for path in info.filepaths]
    if str(builder.info.file_format.value) == "array_record":
        return array_record_split(paths, layout)
    return record_split(paths, layout)
