"""Weights of timm models in repositories on the Hugging Face Hub."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from ...common import files
from ..registry.repository import WEIGHTS_NAME, make_record, parse_reference
from ..registry.weight_file import WeightFile
from . import checksums

EXTRA = 'pip install "efficientnet-keras[hub]"'
_CONFIG_NAME = "config.json"


def import_library() -> Any:
    """Imports the library `huggingface_hub`.

    Raises:
        ImportError: The library is not installed.
    """
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            f"`huggingface_hub` must be installed for weights 'hf://...': {EXTRA}"
        ) from error
    return huggingface_hub


# A branch may move; within a process, a reference stays at one commit.
@functools.lru_cache(maxsize=64)
def find_record(weights: str) -> WeightFile:
    """Reads the record of a timm model from its repository.

    The library's cache, token, endpoint and offline mode apply.

    Args:
        weights: Reference, "hf://OWNER/NAME" or "hf://OWNER/NAME@REVISION".

    Returns:
        Record whose `revision` is the commit that the reference resolves to.

    Raises:
        ImportError: The library `huggingface_hub` is not installed.
        OSError: The repository could not be reached, or the revision does not exist.
        ValueError: The reference is malformed, or the repository holds no timm model of
            a network of this package.
    """
    repository = parse_reference(weights)
    path = _download(weights, repository.name, _CONFIG_NAME, repository.revision)
    commit = path.parent.name  # .../snapshots/COMMIT/config.json
    library = import_library()
    url = library.hf_hub_url(repository.name, WEIGHTS_NAME, revision=commit)
    try:
        config = json.loads(files.read_regular(path))
    except ValueError as error:
        raise ValueError(
            f"A config.json must be JSON. Received: {path} of {weights} ({error})"
        ) from error
    return make_record(weights, commit, url, config)


def fetch(record: WeightFile) -> Path:
    """Returns the path of a repository's weight file, downloading it if necessary.

    The file must have the SHA-256 that the Hub states or, if it states none, that of
    the first download of the same commit.

    Args:
        record: Record from `find_record`.

    Raises:
        OSError: The download failed.
        ValueError: The repository has no weight file, or the file is damaged.
    """
    name = parse_reference(record.family).name
    path = _download(record.family, name, WEIGHTS_NAME, record.revision)
    stored = path.resolve()
    cure = f"Delete {stored} to download it again."
    # The library names large files in its cache by their SHA-256.
    if re.fullmatch("[0-9a-f]{64}", stored.name):
        checksums.verify(path, f"sha256:{stored.name}", cure)
        return path
    note = f"{name.replace('/', '--')}--{record.revision}.safetensors"
    target = files.cache_dir() / "huggingface" / note
    checksums.verify_first_download(path, checksums.first_download_note(target), cure)
    return path


def _download(weights: str, name: str, file: str, revision: str | None) -> Path:
    library = import_library()
    errors = library.errors
    try:
        return Path(library.hf_hub_download(name, file, revision=revision))
    except errors.HFValidationError as error:
        raise ValueError(
            "`weights` must name a repository on the Hugging Face Hub. "
            f"Received: weights={weights!r} ({error})"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise OSError(_unreachable(library, weights, file, error)) from error
    except errors.EntryNotFoundError as error:
        raise ValueError(
            f"A repository must have a file {file}. Received: weights={weights!r}, "
            "which has none"
        ) from error
    except Exception as error:  # HTTP libraries of its versions differ in their errors
        raise OSError(_unreachable(library, weights, file, error)) from error


def _unreachable(library: Any, weights: str, file: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    advice = "For a private or gated repository, set HF_TOKEN or run `hf auth login`."
    if library.constants.HF_HUB_OFFLINE:
        advice = "Unset HF_HUB_OFFLINE to download it."
    return (
        f"{file} of {weights} could not be downloaded from "
        f"{library.constants.ENDPOINT} ({reason}). {advice}"
    )
