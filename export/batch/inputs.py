"""Lists the images of an input: folders, lists, tables, record files, tar files."""

from __future__ import annotations

import csv
import glob
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from keras_efficientnet.common.files import open_regular
from keras_efficientnet.common.image_csv import DELIMITERS, is_image_csv
from keras_efficientnet.common.image_folders import (
    is_hidden,
    list_images,
    readable_suffixes,
)
from keras_efficientnet.common.plain_text import printable

from ..extras import require_package
from .listing import ImageLocation

COLUMN = "path"  # of CSV and Parquet files
_RECORD_FRAME = 16  # bytes of a TFRecord's length and its two checksums
# As the trainer's data sources; the others need no prefix here.
_PREFIXES = ("tfrecord:", "arrayrecord:")
_PLAIN_PREFIXES = ("csv:", "folder:")


def list_locations(given: str) -> Iterator[ImageLocation]:
    """Lists the images of an input in a stable order.

    Args:
        given: A folder, a file or a glob pattern, local or a URL of fsspec. Files are
            images, .tar, .tfrecord and .array_record files, .txt files with a path per
            line, .csv, .tsv and .parquet files with a column `path`; relative paths
            start at the folder of their list. "FILE.csv?path=HEADER" names another
            column of a .csv or .tsv file. "tfrecord:PATTERN" and "arrayrecord:PATTERN"
            name record files without a suffix; "csv:" and "folder:" may precede the
            others.

    Raises:
        ValueError: There are no such files, or one cannot be read.
        ImportError: fsspec, pyarrow or array_record is needed and not installed.
    """
    pattern, kind = given, ""
    for prefix in _PLAIN_PREFIXES:
        if not os.path.lexists(given):
            pattern = pattern.removeprefix(prefix)
    column = COLUMN
    if is_image_csv(pattern) and not os.path.lexists(pattern):
        pattern, _, query = pattern.partition("?")
        column = dict(parse_qsl(query)).get("path", COLUMN)
    for prefix in _PREFIXES:
        if given.startswith(prefix):
            pattern, kind = given.removeprefix(prefix), "." + prefix.removesuffix(":")
    for file in _find_files(os.path.expanduser(pattern), is_folder_of_images=not kind):
        suffix = kind or os.path.splitext(file)[1].lower()
        if suffix in readable_suffixes():
            yield ImageLocation(file)
        elif suffix in DELIMITERS:
            yield from _read_csv(file, column)
        elif suffix in _READERS:
            yield from _READERS[suffix](file)
        else:
            raise ValueError(
                "`input` must name images, or .tar (not compressed), .tfrecord, "
                f".array_record, .txt, .csv, .tsv or .parquet files. Received: "
                f"input={printable(given)!r} with {printable(file)}"
            )


def open_stream(path: str) -> BinaryIO:
    """Opens a local regular file or a URL for reading.

    Args:
        path: Path, or a URL of fsspec ("s3://bucket/photo.jpg").

    Raises:
        ImportError: fsspec, or its package for this kind of URL, is not installed.
        OSError: The file cannot be read.
        ValueError: It is not a regular file, or the kind of URL is unknown.
    """
    if not is_url(path):
        return open_regular(Path(path))
    stream: BinaryIO = require_package("fsspec", "batch").open(path, "rb").open()
    return stream


def is_url(path: str) -> bool:
    """Tells whether a path is a URL of fsspec."""
    return "://" in path


def _find_files(pattern: str, *, is_folder_of_images: bool) -> list[str]:
    if is_url(pattern):
        found = _find_remote(pattern, is_folder_of_images)
    elif os.path.isdir(pattern):
        if is_folder_of_images:
            return list_images(pattern)
        found = sorted(glob.glob(os.path.join(glob.escape(pattern), "*")))
    elif os.path.lexists(pattern):
        found = [pattern]
    else:
        found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise ValueError(
            "`input` must name an existing file or folder, or match some. "
            f"Received: input={printable(pattern)!r}"
        )
    return [file if is_url(file) else os.path.abspath(file) for file in found]


def _find_remote(pattern: str, is_folder_of_images: bool) -> list[str]:
    try:
        system, path = require_package("fsspec", "batch").url_to_fs(pattern)
        if system.isdir(path):
            suffixes = readable_suffixes()
            names = [
                name
                for name in system.find(path)
                if not is_folder_of_images
                or (name.lower().endswith(suffixes) and not is_hidden(_name(name)))
            ]
        else:
            names = [path] if system.exists(path) else system.glob(path)
        return sorted(system.unstrip_protocol(name) for name in names)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`input` must be readable. Received: input={pattern!r} ({error})"
        ) from error


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _read_list(path: str) -> Iterator[ImageLocation]:
    with open_stream(path) as file:
        for line in file:
            name = os.fsdecode(line.rstrip(b"\r\n"))
            if name.strip():
                yield _relative_to(path, name)


def _read_csv(path: str, column: str) -> Iterator[ImageLocation]:
    with open_stream(path) as file:
        lines = (
            line.decode("utf-8-sig" if i == 0 else "utf-8")
            for i, line in enumerate(file)
        )
        suffix = os.path.splitext(path)[1].lower()
        rows = csv.DictReader(lines, delimiter=DELIMITERS[suffix])
        try:
            _check_column(path, rows.fieldnames or (), column)
            for row in rows:
                yield _relative_to(path, row[column] or "")
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"A CSV file must be text in UTF-8. Received: {path} ({error})"
            ) from error


def _read_parquet(path: str) -> Iterator[ImageLocation]:
    parquet = require_package("pyarrow.parquet", "batch")
    with open_stream(path) as file:
        try:
            table = parquet.ParquetFile(file)
            _check_column(path, table.schema_arrow.names, COLUMN)
            for batch in table.iter_batches(columns=[COLUMN]):
                for name in batch.column(0).to_pylist():
                    yield _relative_to(path, str(name or ""))
        except OSError as error:
            raise ValueError(
                f"A .parquet file must be complete. Received: {path} ({error})"
            ) from error


def _check_column(path: str, names: Any, column: str) -> None:
    if column not in names:
        raise ValueError(
            f"A table of images must have a column {column!r}. "
            f"Received: {path} with {', '.join(map(str, names))}"
        )


def _relative_to(list_file: str, name: str) -> ImageLocation:
    if is_url(name) or os.path.isabs(name):
        return ImageLocation(name)
    folder = list_file.rpartition("/")[0] if is_url(list_file) else None
    if folder is not None:
        return ImageLocation(f"{folder}/{name}")
    return ImageLocation(os.path.join(os.path.dirname(list_file), name))


def _read_tar(path: str) -> Iterator[ImageLocation]:
    suffixes = readable_suffixes()
    try:
        with open_stream(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps headers
                name = member.name
                if member.isreg() and name.lower().endswith(suffixes):
                    if is_hidden(_name(name)):
                        continue
                    yield ImageLocation(
                        f"{path}/{name}", path, "tar", member.offset_data, member.size
                    )
    except tarfile.TarError as error:
        raise ValueError(
            "A .tar file must be complete and not compressed. "
            f"Received: {path} ({error})"
        ) from error


def _read_tfrecord(path: str) -> Iterator[ImageLocation]:
    with open_stream(path) as file:
        end, start, number = file.seek(0, os.SEEK_END), 0, 0
        while start < end:
            file.seek(start)
            head = file.read(8)
            size = struct.unpack("<Q", head)[0] if len(head) == 8 else end
            if start + _RECORD_FRAME + size > end:
                raise ValueError(
                    "A TFRecord file must be complete and not compressed. "
                    f"Received: {path}, which is damaged at byte {start}"
                )
            yield ImageLocation(f"{path}#{number}", path, "tfrecord", start + 12, size)
            start, number = start + _RECORD_FRAME + size, number + 1


def _read_array_record(path: str) -> Iterator[ImageLocation]:
    for number in range(len(open_array_record(path))):
        yield ImageLocation(f"{path}#{number}", path, "arrayrecord", number)


def open_array_record(path: str) -> Any:
    """Opens an ArrayRecord file as a sequence of records.

    Args:
        path: Local path.

    Raises:
        ImportError: The package array_record is not installed.
        ValueError: The file cannot be read.
    """
    module = require_package("array_record.python.array_record_data_source", "records")
    try:
        return module.ArrayRecordDataSource([path])
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"An ArrayRecord file must be complete. Received: {path} ({error})"
        ) from error


_READERS: dict[str, Callable[[str], Iterator[ImageLocation]]] = {
    ".txt": _read_list,
    ".parquet": _read_parquet,
    ".tar": _read_tar,
    ".tfrecord": _read_tfrecord,
    ".tfrecords": _read_tfrecord,
    ".array_record": _read_array_record,
    ".arrayrecord": _read_array_record,
}
