"""Registry of published weight files, and lookup."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from ...architecture import find_variant
from ...common.choices import did_you_mean
from .repository import HUB_PREFIX
from .table_keras import KERAS_FILES, QUBVEL_FILES, TPU_FILES
from .table_torch import (
    LITE_WHEELS,
    LUKEMELAS_FILES,
    TIMM_FILES,
    TORCHVISION_FILES,
    TRANSFORMERS_FILES,
)
from .table_v2 import EDGETPU_FILES, V2_FILES
from .weight_file import WeightFile

# The first file of a family and variant is the family's default.
WEIGHT_FILES: tuple[WeightFile, ...] = (
    *KERAS_FILES,
    *LITE_WHEELS,
    *TIMM_FILES,
    *TORCHVISION_FILES,
    *LUKEMELAS_FILES,
    *QUBVEL_FILES,
    *TPU_FILES,
    *TRANSFORMERS_FILES,
    *V2_FILES,
    *EDGETPU_FILES,
)


def find(family: str, variant: str, include_top: bool = True) -> WeightFile:
    """Returns the published file that fits a network best.

    Args:
        family: Family such as "noisy-student"; with a publisher, "noisy-student@tpu".
            Or a repository on the Hugging Face Hub, "hf://OWNER/NAME".
        variant: Variant, in any spelling that `architecture.find_variant` accepts.
        include_top: Whether the network has the classifier. If not, a file without
            it is preferred, where one is published.

    Raises:
        OSError: The repository could not be reached.
        ValueError: The family or the variant is unknown, or the family has no file of
            the variant.
    """
    key = find_variant(variant)
    if family.startswith(HUB_PREFIX):
        return _find_in_repository(family, key)
    of_family = [row for row in WEIGHT_FILES if family in (row.family, row.name)]
    if not of_family:
        raise ValueError(
            f"`family` must be one of {families_listed()}."
            f"{did_you_mean(family, known_families())} Received: family={family!r}"
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
    rows = [row for row in rows if row.publisher == rows[0].publisher]
    exact = [row for row in rows if row.include_top == include_top]
    return exact[0] if exact else rows[0]


def is_published(weights: object) -> bool:
    """Returns whether `weights` names published weights, not the path of a file.

    Args:
        weights: Value of the argument `weights` of a factory.
    """
    if not isinstance(weights, str):
        return False
    return weights.startswith(HUB_PREFIX) or weights in known_families()


def _find_in_repository(weights: str, key: str) -> WeightFile:
    from ..download import hub

    record = hub.find_record(weights)
    if record.variant != key:
        raise ValueError(
            f"`weights` must be a repository of {key}; this one holds "
            f"{record.variant}. Received: weights={weights!r}"
        )
    return record


def find_published_file(path: Path) -> WeightFile | None:
    """Returns the record of a published file with a hash in its name, or None.

    Args:
        path: Path of the file.
    """
    for row in WEIGHT_FILES:
        digest = (row.checksum or "").partition(":")[2][:8]
        if digest and digest in path.name and row.filename == path.name:
            return row
    return None


# Variants for which no file of the family "imagenet" is published.
_DEFAULT_FAMILIES = {
    "EfficientNetB8": "randaugment",
    "EfficientNetL2": "noisy-student",
    "EfficientNetV2XL": "imagenet21k-ft1k",
}


def default_family(variant: str) -> str:
    """Returns the default family of a variant's factory.

    Args:
        variant: Variant, in any spelling that `architecture.find_variant` accepts.

    Example:
        >>> default_family("b0"), default_family("l2")
        ('imagenet', 'noisy-student')
    """
    return _DEFAULT_FAMILIES.get(find_variant(variant), "imagenet")


def weights_info(variant: str, family: str | None = None) -> WeightFile:
    """Returns the record of published weights: accuracy, licence, source and more.

    Args:
        variant: Variant such as "EfficientNetB0" or "lite0".
        family: Family as in `weights=`, such as "imagenet" or "noisy-student@tpu", or
            a repository, "hf://OWNER/NAME"; None takes the default of the variant's
            factory. The `revision` of a repository's record is its commit.

    Raises:
        ValueError: The family or the variant is unknown, or the family has no file of
            the variant.

    Example:
        >>> weights_info("lite0").top1
        75.1
    """
    return find(family or default_family(variant), variant)


def list_weights(pattern: str = "*") -> list[str]:
    """Lists the published weights as "variant/family".

    Further files of the same family and variant follow as
    "variant/family@publisher".

    Args:
        pattern: Shell pattern of the names; case is ignored.

    Example:
        >>> list_weights("*lite3*")  # doctest: +ELLIPSIS
        ['EfficientNetLite3/imagenet', 'EfficientNetLite3/imagenet@tpu']
    """
    wanted = pattern.lower()
    names = [name for name, _ in named_files()]
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), wanted)]


def named_files() -> list[tuple[str, WeightFile]]:
    """Lists each published network with its name in `list_weights`."""
    named: dict[str, WeightFile] = {}
    publishers: dict[str, str] = {}
    for row in WEIGHT_FILES:
        name = f"{row.variant}/{row.family}"
        if publishers.setdefault(name, row.publisher) != row.publisher:
            name = f"{row.variant}/{row.name}"
        named.setdefault(name, row)
    return list(named.items())


def known_families() -> list[str]:
    """Lists the values of `weights=`: families, then families of one publisher."""
    families = dict.fromkeys(row.family for row in WEIGHT_FILES)
    return [*families, *dict.fromkeys(row.name for row in WEIGHT_FILES)]


def families_listed() -> str:
    """Returns the families as text for error messages."""
    return ", ".join(repr(name) for name in known_families() if "@" not in name)
