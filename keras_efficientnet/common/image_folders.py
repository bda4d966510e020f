"""Image folders: listing images and class folders.

Training, evaluation, export and prediction share these rules. Hidden and system files
are ignored silently. Everything else that is skipped (cyclic links, unreadable folders,
image formats that cannot be decoded) is listed in one warning.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import importlib.util
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..preprocessing import IMAGE_SUFFIXES
from .plain_text import printable

# Common image formats that cannot be decoded here: skipped with a warning.
UNREADABLE_SUFFIXES = (
    *(".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".ppm", ".pgm"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf"),
)
# System entries of macOS archives, NAS devices, Windows and ext file systems.
_SYSTEM_NAMES = {
    *("__macosx", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot"),
    *("$recycle.bin", "system volume information", "lost+found"),
}
_INTEGER = re.compile(r"-?[0-9]+")
_SHOWN = 5  # names in a message


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """Images of a folder, with or without class folders.

    Attributes:
        root: Folder that holds the class folders, or the images themselves.
        paths: Absolute path of each image, grouped by class and sorted by name.
        labels: Index of each image's class in `class_names`, (images,), int32; 0 for
            images without class folders.
        class_names: Names of the class folders, in index order; empty without class
            folders.
        label_sets: All labels of each image, (images, classes), uint8, 1 or 0. None:
            each image has one.
    """

    root: Path
    paths: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    label_sets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, positions: Sequence[int] | np.ndarray) -> ImageFolder:
        """Returns a subset of the images.

        Args:
            positions: Indices into `paths`, in the order of the result.
        """
        at = np.asarray(positions, np.int64)
        paths = tuple(self.paths[i] for i in at)
        sets = None if self.label_sets is None else self.label_sets[at]
        return dataclasses.replace(
            self, paths=paths, labels=self.labels[at], label_sets=sets
        )


class Remarks:
    """Collects the skipped files of a folder, and warns about them once at the end.

    Args:
        root: Folder that the warning names.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, list[str]] = {}

    def add(self, reason: str, path: str | os.PathLike[str]) -> None:
        """Records a skipped path.

        Args:
            reason: Reason for skipping it, as a plural noun: "links to folders".
            path: Path inside the folder.
        """
        name = os.path.relpath(path, self._root)
        self._found.setdefault(reason, []).append(name)

    def __enter__(self) -> Remarks:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._found and kind is None:
            parts = [
                f"{reason}: {len(names):,} ({shorten(sorted(names))})"
                for reason, names in self._found.items()
            ]
            text = f"In {printable(self._root)}: {'; '.join(parts)}"
            warnings.warn(text, stacklevel=3)


@functools.cache
def readable_suffixes() -> tuple[str, ...]:
    """Returns the `IMAGE_SUFFIXES` that can be decoded on this machine."""
    missing = {".tif", ".tiff", ".avif"}
    if importlib.util.find_spec("PIL") is not None:
        from PIL import features

        # Pillow reads AVIF since 11.3, if it was built with AVIF support.
        has_avif = "avif" in features.modules and features.check("avif")
        missing = set() if has_avif else {".avif"}
    return tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in missing)


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """Lists the images in a folder and its subfolders.

    Args:
        folder: Path of the folder.

    Returns:
        Absolute paths, sorted as text.

    Raises:
        ValueError: There is no such folder, or it holds no images.
    """
    root = existing_folder(folder)
    with Remarks(root) as remarks:
        paths = sorted(_walk(root, root, remarks))
    if not paths:
        raise ValueError(
            f"{printable(root)} must hold images ({', '.join(readable_suffixes())}). "
            "It has none."
        )
    return paths


def find_images(names: Sequence[str]) -> list[Path]:
    """Expands file, folder and glob arguments to a list of files.

    Args:
        names: Files, folders (all images in them, at any depth) and glob patterns.

    Returns:
        Paths in the given order, without duplicates. A name that matches nothing and a
        folder without images are returned unchanged.
    """
    paths: list[Path] = []
    for name in names:
        is_pattern = not os.path.lexists(name)
        matches = sorted(glob.glob(name, recursive=True)) if is_pattern else []
        for match in map(Path, matches or [name]):
            inside: list[Path] = []
            if match.is_dir():
                with Remarks(match) as remarks:
                    inside = [Path(p) for p in sorted(_walk(match, match, remarks))]
            paths += inside or [match]
    return list(dict.fromkeys(paths))


def list_class_folders(root: Path) -> list[Path]:
    """Lists the class folders of a folder in index order.

    They are sorted numerically if all names are integers, otherwise as text. Hidden and
    system folders are left out.

    Args:
        root: Path of the folder.

    Raises:
        ValueError: The folder cannot be read.
    """
    folders = {e.name: Path(e.path) for e in _scan(root) if e.is_dir()}
    return [folders[name] for name in class_order(folders)]


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts class names: as numbers if all are integers, else as text.

    Args:
        names: Distinct class names.

    Example:
        >>> class_order({"10", "9"}), class_order({"10", "b", "9"})
        (('9', '10'), ('10', '9', 'b'))
    """
    ordered = sorted(names)
    if all(_INTEGER.fullmatch(name) for name in ordered):
        ordered.sort(key=lambda name: (int(name), name))
    return tuple(ordered)


def open_class_folders(root: Path, data_root: Path | None = None) -> ImageFolder:
    """Opens a folder with one subfolder per class.

    Args:
        root: Folder that holds the class folders, with images at any depth; class
            folders may be empty.
        data_root: Folder given by the user, of which `root` may be a split. Links
            inside a class that point back into it are not followed. Defaults to `root`.

    Raises:
        ValueError: There are no class folders, or a name is not UTF-8.
    """
    folders = list_class_folders(root)
    if not folders:
        raise ValueError(
            f"{printable(root)} must have one subfolder per class, but has none."
        )
    paths: list[str] = []
    labels: list[int] = []
    with Remarks(root) as remarks:
        for label, folder in enumerate(folders):
            _check_utf8(folder)
            found = sorted(_walk(folder, data_root or root, remarks))
            paths += found
            labels += [label] * len(found)
        for path in loose_images(root):
            remarks.add("unused images next to the class folders", path)
    names = tuple(folder.name for folder in folders)
    return ImageFolder(root, tuple(paths), np.array(labels, np.int32), names)


def loose_images(root: Path) -> list[Path]:
    """Lists the images directly inside a folder.

    Args:
        root: Path of the folder.
    """
    suffixes = readable_suffixes()
    images = [e for e in _scan(root) if _suffix(e.name) in suffixes]
    return [Path(entry.path) for entry in images if entry.is_file()]


def holds_images(folder: Path) -> bool:
    """Returns whether a folder holds images at any depth.

    Args:
        folder: Path of the folder.
    """
    return any(True for _ in _walk(folder, folder, Remarks(folder)))


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """Returns the absolute path of an existing folder.

    Args:
        folder: Path, which may begin with "~".

    Raises:
        ValueError: There is no such folder.
    """
    # Absolute: the held-out images must not depend on the working directory.
    root = Path(os.path.abspath(Path(folder).expanduser()))
    if not root.is_dir():
        kind = " (not a folder)" if root.exists() else ""
        raise ValueError(
            f"A folder of images must exist. Received: {printable(folder)}{kind}"
        )
    return root


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden or belongs to a system.

    Args:
        name: Name without its folder.

    Example:
        >>> [is_hidden(name) for name in ("._cat.jpg", "__MACOSX", "@eaDir", "cat")]
        [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def shorten(names: Sequence[str]) -> str:
    """Joins the first names with commas, adding "..." if there are more.

    Args:
        names: File names.
    """
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(map(printable, names[:_SHOWN])) + more


def _scan(root: Path) -> list[os.DirEntry[str]]:
    """Lists the entries of a folder by name, without hidden and system files."""
    try:
        with os.scandir(root) as found:
            entries = [entry for entry in found if not is_hidden(entry.name)]
    except OSError as error:
        raise ValueError(
            f"A folder must be readable. Received: {printable(root)} ({error.strerror})"
        ) from error
    return sorted(entries, key=lambda entry: entry.name)


def _walk(folder: Path, data_root: Path, remarks: Remarks) -> Iterator[str]:
    """Yields the images of a folder at any depth, in any order."""
    inside = os.path.realpath(data_root)
    waiting, seen = [os.fspath(folder)], {os.path.realpath(folder)}
    while waiting:
        current = waiting.pop()
        try:
            entries = _scan(Path(current))
        except ValueError:
            remarks.add("folders that cannot be read", current)
            continue
        for entry in entries:
            if entry.is_dir():
                if not entry.is_symlink() or _follows(entry, inside, seen, remarks):
                    waiting.append(entry.path)
            elif _is_image(entry, remarks):
                yield entry.path


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_image(entry: os.DirEntry[str], remarks: Remarks) -> bool:
    suffix = _suffix(entry.name)
    if suffix not in (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES):
        return False
    if not entry.is_file():  # reading a pipe or device might never end
        remarks.add("image names that are not regular files", entry.path)
        return False
    if suffix not in readable_suffixes():
        remarks.add(f"{suffix} files that cannot be decoded", entry.path)
        return False
    return True


def _follows(
    entry: os.DirEntry[str], inside: str, seen: set[str], remarks: Remarks
) -> bool:
    """Returns whether to follow a link; its target may be listed already."""
    target = os.path.realpath(entry)
    leads_back = target in seen or _is_within(target, inside)
    leads_back = leads_back or _is_within(inside, target)
    seen.add(target)
    outcome = "not followed (cyclic or repeated)" if leads_back else "followed"
    remarks.add(f"links to folders, {outcome}", entry.path)
    return not leads_back


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _check_utf8(folder: Path) -> None:
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            "The name of a class folder must be UTF-8; rename it. "
            f"Received: {printable(folder)}"
        ) from error
