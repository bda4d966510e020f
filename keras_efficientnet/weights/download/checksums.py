"""Checksums of weight files: published ones, and those of first downloads."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from ...common.files import write_text

_LEAST_DIGITS = 8  # minimum length of a checksum


def verify(path: Path, checksum: str, cure: str = "") -> None:
    """Verifies the checksum of a file.

    Args:
        path: Path of the file.
        checksum: Checksum "md5:..." or "sha256:...", or the beginning of one, as
            PyTorch hubs publish it.
        cure: Sentence with advice for the error message.

    Raises:
        ValueError: `checksum` is malformed, or the file has another checksum.
    """
    algorithm, expected = _parse(checksum)
    digest = _digest(path, algorithm)
    if not digest.startswith(expected):
        raise ValueError(
            f"{path} must have the checksum {algorithm}:{expected}. "
            f"{cure}{' ' if cure else ''}Received: {algorithm}:{digest}"
        )


def verify_first_download(path: Path, note: Path, cure: str = "") -> None:
    """Verifies that a file without a published checksum is the one downloaded first.

    The first call writes the SHA-256 of the file to `note`, in the format of the
    command `sha256sum`; later calls compare with it.

    Args:
        path: Path of the file.
        note: Path of the note, which outlives the file.
        cure: Sentence with advice for the error message. Defaults to how to accept a
            file that the publisher has changed.

    Raises:
        ValueError: The file differs from the first download.
    """
    if note.is_file():
        expected = (note.read_text(encoding="utf-8").split() or [""])[0]
        cure = cure or f"Delete {note} to accept a file that has changed."
        verify(path, f"sha256:{expected}", f"The first download had it. {cure}")
        return
    # A cache that is shared read-only is fine, too.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        name = note.name.removesuffix(note.suffix)
        write_text(note, f"{_digest(path, 'sha256')}  {name}\n")


def first_download_note(target: Path) -> Path:
    """Returns the path of the note on the first download of a file.

    Args:
        target: Path of the file in the cache.
    """
    return target.with_name(f"{target.name}.sha256")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: _new_hash(algorithm)).hexdigest()


def _parse(checksum: str) -> tuple[str, str]:
    algorithm, _, digest = checksum.partition(":")
    if algorithm not in ("md5", "sha256") or len(digest) < _LEAST_DIGITS:
        raise ValueError(
            "`checksum` must be 'md5:...' or 'sha256:...', with at least "
            f"{_LEAST_DIGITS} digits. "
            f"Received: checksum={checksum!r}"
        )
    return algorithm, digest.lower()


def _new_hash(algorithm: str) -> hashlib._Hash:
    # MD5 detects damage here, not attacks, which must be declared in FIPS mode.
    return hashlib.new(algorithm, usedforsecurity=False)
