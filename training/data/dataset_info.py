"""Published sizes of the data sets of the paper, and their sources."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Data set, as published.

    Attributes:
        train: Number of training images, including those held out for validation.
        test: Number of images that results are reported on.
        classes: Number of classes.
        data: Value of `TrainConfig.data`. "folder:NAME" means that TFDS does not have
            the data set: place its images there, one folder per class.
        held_out: Number of training images held out for validation: the official
            ones, or the tenth that `sources` takes. 0: the test images are called
            "validation".
    """

    train: int
    test: int
    classes: int
    data: str
    held_out: int = 0

    @property
    def splits(self) -> dict[str, int]:
        """Number of images of each split."""
        if not self.held_out:
            return {"train": self.train, "validation": self.test}
        return {
            "train": self.train - self.held_out,
            "validation": self.held_out,
            "test": self.test,
        }


IMAGENET = DataSet(1_281_167, 50_000, 1000, "tfds:imagenet2012")

# Source: arXiv:1905.11946, Table 6, except for the test images of pets, where its 3,369
# is a typo: the data set's own lists have 3,669.
TRANSFER = {
    "cifar10": DataSet(50_000, 10_000, 10, "tfds:cifar10", 5_000),
    "cifar100": DataSet(50_000, 10_000, 100, "tfds:cifar100", 5_000),
    "birdsnap": DataSet(47_386, 2_443, 500, "folder:birdsnap", 4_739),
    "cars": DataSet(8_144, 8_041, 196, "tfds:cars196", 814),
    "flowers": DataSet(2_040, 6_149, 102, "tfds:oxford_flowers102", 1_020),
    "aircraft": DataSet(6_667, 3_333, 100, "folder:aircraft", 667),
    "pets": DataSet(3_680, 3_669, 37, "tfds:oxford_iiit_pet", 368),
    "food101": DataSet(75_750, 25_250, 101, "tfds:food101", 7_575),
}


def find(data: str) -> DataSet | None:
    """Returns the data set that `TrainConfig.data` names, if it is in these tables.

    Args:
        data: Source such as "tfds:cifar10". A version after a second colon and the
            suffix "+download" are ignored.

    Example:
        >>> find("tfds:cifar100:3.0.2").classes
        100
    """
    name = ":".join(data.removesuffix("+download").split(":")[:2])
    return next((d for d in (IMAGENET, *TRANSFER.values()) if d.data == name), None)
