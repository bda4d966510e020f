"""Tensor bundle format of TensorFlow checkpoints, read without TensorFlow.

"PREFIX.index" is a sorted table in LevelDB's format from the name of each variable to
its type, shape and location; the values are in "PREFIX.data-00000-of-00001" and so on.
Some malformed indices crash TensorFlow itself; here every number is checked before it
is used.

Source: tensorflow, core/protobuf/tensor_bundle.proto and tensor_shape.proto;
LevelDB, doc/table_format.md.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ...common.files import open_regular, read_regular
from .base import Arrays, bfloat16_to_float32, total_bound

_FOOTER_SIZE = 48  # bytes
_MAGIC = bytes.fromhex("57fb808b247547db")
_BLOCK_TRAILER = 5  # bytes: type of compression, checksum
_MAX_INDEX_SIZE = 64 << 20  # bytes; a thousand times that of the largest network
_MAX_DIMENSIONS = 8
_BFLOAT16 = 14
# NumPy types by the numbers of tensorflow/core/framework/types.proto, without byte
# order.
_DTYPES = {
    1: "f4",
    2: "f8",
    3: "i4",
    4: "u1",
    5: "i2",
    6: "i1",
    9: "i8",
    10: "?",
    _BFLOAT16: "u2",
    17: "u2",
    19: "f2",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """Location of the values of a variable."""

    dtype: int  # key of _DTYPES, or an unsupported type
    shape: tuple[int, ...]
    shard: int
    offset: int  # bytes
    size: int  # bytes


@dataclasses.dataclass(frozen=True)
class Index:
    """Index of the variables of a checkpoint."""

    shards: int
    order: str  # byte order, "<" or ">"
    entries: dict[str, Entry]


def index_file(prefix: Path) -> Path:
    """Returns the path of the index file of a checkpoint."""
    return prefix.with_name(f"{prefix.name}.index")


def read_index(prefix: Path) -> Index:
    """Reads the index of a checkpoint.

    Args:
        prefix: Path of the checkpoint's files without their suffixes.

    Raises:
        ValueError: The index is damaged.
    """
    path = index_file(prefix)
    if path.stat().st_size > _MAX_INDEX_SIZE:
        raise ValueError("its index is too large")
    content, rows = read_regular(path), {}
    left = total_bound(len(content))
    for name, value in _table(content):
        left -= len(name)  # names can share prefixes
        if left < 0:
            raise ValueError("its index expands to far more than its size")
        rows[name] = value
    header = _fields(rows.pop(b"", b""))
    shards, big = _number(header, 1), _number(header, 2)
    entries = {key.decode(): _entry(value) for key, value in rows.items()}
    return Index(shards, ">" if big else "<", entries)


def read_arrays(prefix: Path, index: Index, names: Iterable[str]) -> Arrays:
    """Reads the values of variables.

    Args:
        prefix: Path of the checkpoint, as in `read_index`.
        index: Result of `read_index`.
        names: Names of the variables to read.

    Returns:
        Arrays by name; bfloat16 is converted to float32.

    Raises:
        ValueError: A file of the checkpoint is missing or truncated, or a variable is
            not numeric.
    """
    wanted = {name: index.entries[name] for name in names}
    paths = {
        shard: prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{index.shards:05d}")
        for shard in {entry.shard for entry in wanted.values()}
    }
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"its file {path.name} is missing")
    sizes = {shard: path.stat().st_size for shard, path in paths.items()}
    claimed, stored = sum(e.size for e in wanted.values()), sum(sizes.values())
    if claimed > stored:
        raise ValueError(f"it claims {claimed} bytes; {stored} are stored")
    arrays: Arrays = {}
    for name, entry in wanted.items():
        dtype = _dtype(name, entry, index.order)
        if entry.offset + entry.size > sizes[entry.shard]:
            raise ValueError(f"its file {paths[entry.shard].name} ends before {name}")
        with open_regular(paths[entry.shard]) as stream:
            flat = np.fromfile(
                stream, dtype, entry.size // dtype.itemsize, "", entry.offset
            )
        array = flat.reshape(entry.shape).astype(dtype.newbyteorder("="), copy=False)
        is_bfloat16 = entry.dtype == _BFLOAT16
        arrays[name] = bfloat16_to_float32(array) if is_bfloat16 else array
    return arrays


def _dtype(name: str, entry: Entry, order: str) -> np.dtype:
    if entry.dtype not in _DTYPES:
        raise ValueError(f"its {name} must hold numbers, not type {entry.dtype}")
    dtype = np.dtype(order + _DTYPES[entry.dtype])
    if math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise ValueError(f"its {name} of shape {entry.shape} has {entry.size} bytes")
    return dtype


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if data[-len(_MAGIC) :] != _MAGIC or len(data) < _FOOTER_SIZE:
        raise ValueError("its index is damaged or truncated")
    footer = data[-_FOOTER_SIZE:]
    _, at = _handle(footer, 0)  # of the metaindex block
    index, _ = _handle(footer, at)
    left = len(data)  # every block is read once, so this bounds the total
    for _, value in _block(data, index):
        place, _ = _handle(value, 0)
        left -= place[1]
        if left < 0:
            raise ValueError("its index names a block twice")
        yield from _block(data, place)


def _block(data: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    start, size = place
    end = start + size
    if end + _BLOCK_TRAILER > len(data) or size < 4:
        raise ValueError("its index refers to a location outside of it")
    if data[end] != 0:
        raise ValueError("its index is compressed, which TensorFlow never does")
    (stated,) = struct.unpack_from("<I", data, end + 1)
    if _masked_crc32c(data[start : end + 1]) != stated:
        raise ValueError("its index is damaged: a checksum differs")
    (restarts,) = struct.unpack_from("<I", data, end - 4)
    end -= 4 + 4 * restarts
    key, at = b"", start
    while at < end:
        shared, at = _varint(data, at)
        unshared, at = _varint(data, at)
        length, at = _varint(data, at)
        if shared > len(key) or at + unshared + length > end:
            raise ValueError("its index is damaged")
        key = key[:shared] + data[at : at + unshared]
        at += unshared
        yield key, data[at : at + length]
        at += length


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def _masked_crc32c(data: bytes) -> int:
    # Only for the index: at about 10 MB/s the values would take minutes.
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _entry(message: bytes) -> Entry:
    fields = _fields(message)
    if 7 in fields:
        raise ValueError("its variables are partitioned, which is not supported")
    shape = fields.get(2, [b""])[0]
    if not isinstance(shape, bytes):
        raise ValueError("its index is damaged")
    sizes = _fields(shape).get(2, [])
    if len(sizes) > _MAX_DIMENSIONS:
        raise ValueError(f"it has a variable of {len(sizes)} dimensions")
    dims = [_fields(dim) for dim in sizes if isinstance(dim, bytes)]
    return Entry(
        dtype=_number(fields, 1),
        shape=tuple(_number(dim, 1) for dim in dims),
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
    )


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Parses a protocol buffer into field number -> values."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            fixed = {1: 8, 5: 4}.get(tag & 7)
            size, at = (fixed, at) if fixed else _length(message, tag, at)
            value, at = message[at : at + size], at + size
            if len(value) != size:
                raise ValueError("its index is truncated")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _length(message: bytes, tag: int, at: int) -> tuple[int, int]:
    if tag & 7 != 2:
        raise ValueError("its index is damaged")
    return _varint(message, at)


def _number(fields: dict[int, list[int | bytes]], key: int) -> int:
    value = fields.get(key, [0])[-1]
    if not isinstance(value, int) or value >= 1 << 63:
        raise ValueError("its index is damaged")
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("its index is damaged or truncated")
