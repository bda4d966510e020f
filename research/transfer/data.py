"""Data sets of the transfer study."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from keras_efficientnet.common.choices import did_you_mean

from .. import paper_data, trainer

# Name in the trainer's recipe -> name in the paper's Table 5.
PAPER_NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "birdsnap": "Birdsnap",
    "cars": "Stanford Cars",
    "flowers": "Flowers",
    "aircraft": "FGVC Aircraft",
    "pets": "Oxford-IIIT Pets",
    "food101": "Food-101",
}


@dataclasses.dataclass(frozen=True)
class TransferSet:
    """Data set of the study.

    Attributes:
        name: Name in tables.
        data: Value of the config field `data`.
        train_images: Number of training images.
        classes: Number of classes.
        test_images: Number of test images.
        problem: Reason why the data set cannot be read; "" if it can.
    """

    name: str
    data: str
    train_images: int = 0
    classes: int = 0
    test_images: int = 0
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Best:
    """Result of a network on a data set with the settings chosen for it.

    Attributes:
        dataset: Name of the data set.
        model: Variant.
        start: Initial weights.
        learning_rate: Chosen learning rate.
        weight_decay: Chosen weight decay.
        validation_top1: Top-1 on the held-out images with seed 0, a ratio.
        top1: Mean top-1 on the test images, a ratio.
        deviation: Standard deviation of `top1` over the seeds, a ratio; 0 with one
            seed.
        seeds: Number of seeds.
        trainable_params: Number of trainable parameters.
    """

    dataset: str
    model: str
    start: str
    learning_rate: float
    weight_decay: float
    validation_top1: float
    top1: float
    deviation: float
    seeds: int
    trainable_params: int


def parse(text: str) -> tuple[str, str]:
    """Parses an entry of the option `datasets`.

    Args:
        text: Key of `PAPER_NAMES`, or NAME=SOURCE.

    Returns:
        Name and data source.

    Raises:
        ValueError: It is neither.
    """
    name, equals, data = text.partition("=")
    if equals and name and data:
        return name, data
    if equals or name not in PAPER_NAMES:
        raise ValueError(
            "`datasets` must be names or NAME=SOURCE, the names being "
            f"{', '.join(PAPER_NAMES)}.{did_you_mean(name, PAPER_NAMES)} "
            f"Received: {text!r}"
        )
    return name, trainer.config.load(f"transfer:b0,{name}").source_name


def open_data_set(
    text: str, data_dir: str, max_train_images: int = 0, max_test_images: int = 0
) -> TransferSet:
    """Counts the images of a data set.

    Args:
        text: Entry of the option `datasets`.
        data_dir: Folder of TFDS's data sets; "" for the default.
        max_train_images: Maximum number of training images; 0 for all.
        max_test_images: Maximum number of test images; 0 for all.

    Returns:
        The data set, with `problem` set if it cannot be read.

    Raises:
        ValueError: The entry is malformed.
    """
    name, data = parse(text)
    try:
        source = trainer.sources.load(data, data_dir=data_dir or None)
    except (ValueError, OSError, ImportError) as error:
        return TransferSet(name, data, problem=" ".join(str(error).split()))
    train, test = (len(source.split(key)) for key in ("train", source.final_split))
    return TransferSet(
        name,
        data,
        train_images=min(max_train_images or train, train),
        classes=len(source.class_names),
        test_images=min(max_test_images or test, test),
    )


def paper_rows(name: str) -> list[dict[str, str]]:
    """Returns the rows of the paper's Table 5 for a data set.

    Args:
        name: Name in the option `datasets`.
    """
    rows = paper_data.read("table5_transfer")
    return [row for row in rows if row["dataset"] == PAPER_NAMES.get(name)]


def repeated(names: Iterable[str]) -> str:
    """Returns the first name that occurs twice, or ""."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
