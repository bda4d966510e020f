"""Lists the images of ImageNet's archives without extracting them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from keras_efficientnet.common.image_folders import is_hidden, shorten
from keras_efficientnet.common.plain_text import printable
from keras_efficientnet.preprocessing import IMAGE_SUFFIXES, imagenet_classes

from .images import ImageEntry, ImageList

_BLOCK = tarfile.BLOCKSIZE
_WNID = re.compile(r"n[0-9]{8}")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"


def open_imagenet(
    train_tar: str | None, validation_tar: str | None, validation_labels: str | None
) -> ImageList:
    """Lists the images of ILSVRC2012's archives.

    Args:
        train_tar: Path of the training archive, ILSVRC2012_img_train.tar: a tar file
            of tar files, one per class, named by its WordNet id. None: no training
            images; the classes are then ImageNet's.
        validation_tar: Path of the validation archive, ILSVRC2012_img_val.tar. None:
            no validation images.
        validation_labels: Path of a text file with a WordNet id per validation image,
            sorted by the images' names, or of ILSVRC2012_devkit_t12.tar.gz.

    Raises:
        ValueError: An archive is truncated or not such an archive, a class has no
            images, or the labels do not fit the images.
        ImportError: SciPy, which reads the devkit, is not installed.
        OSError: A file cannot be read.
    """
    if (validation_tar is None) != (validation_labels is None):
        raise ValueError(
            "`validation_tar` and `validation_labels` must be given together. "
            f"Received: validation_tar={validation_tar!r}, "
            f"validation_labels={validation_labels!r}"
        )
    splits: dict[str, list[ImageEntry]] = {}
    names = tuple(wnid for wnid, _ in imagenet_classes())
    if train_tar is not None:
        names, splits["train"] = _list_train(train_tar)
    if validation_tar is not None and validation_labels is not None:
        wnids = _read_labels(validation_labels)
        splits["validation"] = _list_validation(
            validation_tar, validation_labels, wnids, names
        )
    return ImageList(names, splits, _digest(names, splits))


def _list_train(path: str) -> tuple[tuple[str, ...], list[ImageEntry]]:
    """Returns the class names and the images, sorted by class and name."""
    by_class: dict[str, list[ImageEntry]] = {}
    for member, outer in _members(path):
        wnid = os.path.basename(member.name).removesuffix(".tar")
        if is_hidden(os.path.basename(member.name)):
            continue
        if not _WNID.fullmatch(wnid) or not member.name.endswith(".tar"):
            raise ValueError(
                "The training archive must contain a tar file per class, such as "
                f"n01440764.tar. Received: {path} with {printable(member.name)}"
            )
        inner = outer.extractfile(member)
        place = f"{path}, {member.name}"
        found = [
            ImageEntry(
                os.path.basename(image.name),
                0,
                path,
                member.offset_data + image.offset_data,
                image.size,
            )
            for image, _ in _members(place, inner)
            if _is_image(image.name)
        ]
        if not found:
            raise ValueError(f"Each class must have images. Received: {place}, empty")
        by_class[wnid] = sorted(found, key=lambda entry: entry.name)
    if len(by_class) < 2:
        raise ValueError(
            "The training archive must have at least two classes. "
            f"Received: {path} with {len(by_class)}"
        )
    names = tuple(sorted(by_class))
    return names, [
        ImageEntry(e.name, label, e.path, e.start, e.size)
        for label, name in enumerate(names)
        for e in by_class[name]
    ]


def _list_validation(
    path: str, labels_path: str, wnids: Sequence[str], names: Sequence[str]
) -> list[ImageEntry]:
    """Returns the images with their labels, sorted by name."""
    index = {name: label for label, name in enumerate(names)}
    unknown = sorted(set(wnids) - index.keys())
    if unknown:
        raise ValueError(
            f"`validation_labels` must be among the {len(names)} classes of the "
            f"training images. Received: {labels_path} with {shorten(unknown)}"
        )
    found = sorted(
        (os.path.basename(member.name), member.offset_data, member.size)
        for member, _ in _members(path)
        if _is_image(member.name)
    )
    if len(found) != len(wnids):
        raise ValueError(
            "`validation_labels` must have a label per validation image. Received: "
            f"{len(wnids):,} labels in {labels_path} for {len(found):,} images in "
            f"{path}"
        )
    return [
        ImageEntry(name, index[wnid], path, start, size)
        for (name, start, size), wnid in zip(found, wnids, strict=True)
    ]


def _members(
    place: str, stream: IO[bytes] | None = None
) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yields the files of an archive; an archive without its end is an error.

    Args:
        place: Path of the archive, for messages.
        stream: Open archive. None: the file at `place`.
    """
    with contextlib.ExitStack() as stack:
        file = stream or stack.enter_context(open(place, "rb"))
        try:
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # keeps headers
                if member.isreg():
                    yield member, archive
            # tarfile accepts a file that was cut between two members.
            file.seek(archive.offset)
            if file.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("unexpected end of data")
        except tarfile.TarError as error:
            raise ValueError(
                "A tar file must be complete and not compressed. "
                f"Received: {place} ({error})"
            ) from error


def _is_image(name: str) -> bool:
    base = os.path.basename(name)
    return base.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(base)


def _read_labels(path: str) -> list[str]:
    """Returns the WordNet id of each validation image, sorted by the images' names."""
    if tarfile.is_tarfile(path):
        return _read_devkit(path)
    with open(path, encoding="utf-8", errors="replace") as stream:
        found = [line.strip() for line in stream if line.strip()]
    bad = next((line for line in found if not _WNID.fullmatch(line)), None)
    if bad is not None or not found:
        raise ValueError(
            "`validation_labels` must have a WordNet id per line, such as n01440764; "
            f"for the numbers of {_GROUND_TRUTH}, pass the devkit (.tar.gz), which "
            f"explains them. Received: {path} with {bad!r}"
        )
    return found


def _read_devkit(path: str) -> list[str]:
    """Reads the ground truth of ILSVRC2012_devkit_t12.tar.gz.

    Its class numbers are not in the order of the WordNet ids; meta.mat maps them.
    """
    files: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = os.path.basename(member.name)
            if name in (_GROUND_TRUTH, _META) and member.isreg():
                files[name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    missing = {_GROUND_TRUTH, _META} - files.keys()
    if missing:
        raise ValueError(
            f"The devkit must contain {_GROUND_TRUTH} and {_META}. "
            f"Received: {path} without {', '.join(sorted(missing))}"
        )
    wnids = _read_meta(files[_META])
    try:
        return [wnids[int(number)] for number in files[_GROUND_TRUTH].split()]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{_GROUND_TRUTH} must consist of class numbers of {_META}. "
            f"Received: {path} with {error}"
        ) from error


def _read_meta(content: bytes) -> dict[int, str]:
    try:
        from scipy import io as scipy_io
    except ImportError as error:
        raise ImportError("The devkit needs SciPy: pip install scipy") from error
    synsets: Any = scipy_io.loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    pairs = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
    return {int(number): str(wnid) for number, wnid in pairs}


def _digest(names: Sequence[str], splits: Mapping[str, Sequence[ImageEntry]]) -> str:
    digest = hashlib.sha256("\0".join(names).encode())
    for split, entries in splits.items():
        digest.update(f"\0{split}".encode())
        for entry in entries:
            row = f"\0{entry.name}\0{entry.label}\0{entry.start}\0{entry.size}"
            digest.update(row.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
