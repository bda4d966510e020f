"""Photos of eight classes from Debian's package of Tux Paint stamps."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PACKAGE = "tuxpaint-stamps-default"
FOLDERS = {  # class -> folder of the package
    "birds": "animals/birds",
    "fish": "animals/fish",
    "flowers": "plants/flowers",
    "fruit": "food/fruit",
    "insects": "animals/insects",
    "mammals": "animals/mammals",
    "tools": "household/tools",
    "vegetables": "food/vegetables",
}


def download(folder: Path) -> Path:
    """Downloads the package and arranges its photos in a folder.

    Args:
        folder: Folder for the package and the photos, which must exist.

    Returns:
        A folder with about 200 photos in train/CLASS and test/CLASS, half in each.

    Raises:
        OSError: apt-get or dpkg is missing, or the package cannot be downloaded.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise OSError("`apt-get` and `dpkg` must be installed")
    command = ["apt-get", "download", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("*.deb"))
    if done.returncode or not packages:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[-200:]}")
    subprocess.run(["dpkg", "-x", packages[0], folder / "root"], check=True)
    root = folder / "root" / "usr" / "share" / "tuxpaint" / "stamps"
    for name, inner in FOLDERS.items():
        for i, path in enumerate(sorted((root / inner).rglob("*.png"))):
            if "cartoon" not in path.parts:
                half = folder / "photos" / ("train", "test")[i % 2] / name
                _write_on_white(path, half / f"{i}.jpg")
    return folder / "photos"


def _write_on_white(source: Path, target: Path) -> None:
    from PIL import Image

    image = Image.open(source).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    white.thumbnail((256, 256))
    target.parent.mkdir(parents=True, exist_ok=True)
    white.convert("RGB").save(target, quality=90)
