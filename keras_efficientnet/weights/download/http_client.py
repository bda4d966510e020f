"""Resumable HTTP download of one file."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import email.utils
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

from ...common.files import write_text
from .connection import Watchdog, open_url

ATTEMPTS = 5  # consecutive attempts without progress
TIMEOUT_SECONDS = 30.0  # to connect, and then per `SLOWEST_BYTES`
SLOWEST_BYTES = 10_000
FIRST_WAIT_SECONDS = 0.5  # after a failed attempt; doubled each time
LONGEST_WAIT_SECONDS = 60.0
MAX_BYTES = 8 << 30  # four times the largest published file
_LEAST_PROGRESS = 1 << 20  # bytes; attempts that receive more do not count as failed
_CHUNK = 1 << 20  # bytes
_USER_AGENT = "keras_efficientnet (Python urllib)"
_PARTIAL, _BAD_RANGE = 206, 416  # status codes
_TEMPORARY = {408, _BAD_RANGE, 425, 429, 500, 502, 503, 504}
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")


@dataclasses.dataclass(frozen=True)
class _Begun:
    """Metadata of a partially downloaded file."""

    url: str
    etag: str | None  # strong, so equal tags mean equal files
    modified: str | None
    total: int | None  # bytes


def download(url: str, part: Path, name: str) -> bool:
    """Downloads a file, with retries.

    If the download is interrupted, `part` holds the beginning of the file, and the next
    call requests only the rest, unless the file on the server has changed.

    Args:
        url: URL, "https:", "http:" or "file:".
        part: Path to write to. Metadata is written next to it as .json.
        name: Name for the progress bar.

    Returns:
        Whether the file was assembled from several responses.

    Raises:
        OSError: The download failed.
        ValueError: The response is not a file.
    """
    attempts = failures = 0
    best = _size(part)
    while True:
        begun = _load(part, url)
        if begun and begun.total == _size(part):
            return True
        attempts += 1
        try:
            return _attempt(url, part, name, begun)
        except (OSError, http.client.HTTPException) as error:
            failures = 0 if _size(part) - best > _LEAST_PROGRESS else failures + 1
            best = max(best, _size(part))
            if not _is_temporary(error):
                raise
            if failures >= ATTEMPTS:
                text = str(error) or type(error).__name__
                raise OSError(f"{text}, in the last of {attempts} attempts") from error
            time.sleep(_wait(failures, error))


def forget(part: Path) -> None:
    """Removes the files that `download` wrote.

    Args:
        part: Path as in `download`.
    """
    # In this order, metadata never exists for content that it does not describe.
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, name: str, begun: _Begun | None) -> bool:
    with contextlib.ExitStack() as stack:
        watchdog = Watchdog(TIMEOUT_SECONDS, SLOWEST_BYTES)
        stack.enter_context(watchdog)
        response = stack.enter_context(_open(url, part, begun, watchdog))
        headers = response.headers
        resumed = response.status == _PARTIAL
        if resumed and not _continues(headers, part, begun):
            forget(part)
            raise ConnectionError("The server sent a range that was not requested")
        start = _size(part) if resumed else 0
        total = _content_range(headers)[1] if resumed else _content_length(headers)
        _check_room(part, (total or 0) - start)
        # Not `peek`, which mistakes a truncated chunked response for an empty file.
        first = response.read1(_CHUNK)
        if not resumed:
            _refuse_web_page(first)
            forget(part)
            _save(part, _Begun(url, *_validators(headers), total))
        progress = _Progress(name, start, total)
        done = _append(response, first, part, progress, watchdog)
    if total is None and not done:
        raise ConnectionError("The server sent an empty file")
    if total is not None and done != total:
        raise ConnectionError(f"The connection ended after {done} of {total} bytes")
    if not _has_stated_hash(part, headers):
        forget(part)
        raise ConnectionError("The file's checksum does not match the server's")
    return resumed


def _append(
    response: Any,
    first: bytes,
    part: Path,
    progress: _Progress,
    watchdog: Watchdog,
) -> int:
    """Appends a response to a file and returns the size of the file in bytes."""
    with part.open("ab") as stream, contextlib.closing(progress):
        chunk = first
        while chunk:
            stream.write(chunk)
            progress.add(len(chunk))
            watchdog.count += len(chunk)
            # `read1` returns the available bytes, so that a slow server is detected.
            chunk = response.read1(progress.wanted)
        stream.flush()
        os.fsync(stream.fileno())
    return progress.done


def _open(url: str, part: Path, begun: _Begun | None, watchdog: Watchdog) -> Any:
    headers = {"User-Agent": _USER_AGENT}
    condition = begun and (begun.etag or begun.modified)
    if condition and _size(part):
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": condition}
    request = urllib.request.Request(url, headers=headers)
    try:
        return open_url(request, TIMEOUT_SECONDS, watchdog)
    except urllib.error.HTTPError as error:
        error.close()  # it keeps the connection open
        if error.code == _BAD_RANGE:
            forget(part)
        raise


def _continues(headers: Message, part: Path, begun: _Begun | None) -> bool:
    """Returns whether a response continues `part` with the same file."""
    start, total = _content_range(headers)
    if begun is None or start != _size(part) or begun.total not in (None, total):
        return False
    # The request has this condition, too, but some servers ignore it.
    etag, modified = _validators(headers)
    return etag == begun.etag and modified in (None, begun.modified)


def _content_range(headers: Message) -> tuple[int, int]:
    """Returns the start of a range and the total size, -1 each if missing."""
    text = headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18})", text)
    return (int(match[1]), int(match[2])) if match else (-1, -1)


def _validators(headers: Message) -> tuple[str | None, str | None]:
    """Returns the entity tag and modification date, if they are strong validators.

    Source:
        RFC 9110, sections 8.8.1 to 8.8.3.
    """
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if not (etag or "").startswith('"'):
        etag = None
    try:
        age = _seconds(headers["Date"]) - _seconds(modified)
    except (TypeError, ValueError):
        age = 0.0
    return etag, modified if age >= 1 else None


def _seconds(date: Any) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp()


def _content_length(headers: Message) -> int | None:
    match = re.fullmatch(r"[0-9]{1,18}", headers.get("Content-Length", ""))
    return int(match[0]) if match else None


def _check_room(part: Path, needed: int) -> None:
    if needed > MAX_BYTES:
        raise ValueError(f"A weight file cannot have {needed / 1e9:.1f} GB")
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise ValueError(
            f"The disk has {free / 1e6:.0f} MB left, the file has {needed / 1e6:.0f} MB"
        )


def _refuse_web_page(start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_WEB_PAGE):
        title = re.search(rb"<title[^>]*>\s*([^<]{1,60})", text)
        about = f" ({title[1].decode(errors='replace').strip()!r})" if title else ""
        raise ValueError(f"The server sent a web page, not a file{about}")


def _has_stated_hash(part: Path, headers: Message) -> bool:
    """Compares a file with the MD5 sent by Google Cloud Storage."""
    stated = ",".join(headers.get_all("x-goog-hash", []))
    match = re.search(r"\bmd5=([\w+/]+=*)", stated)
    if not match:
        return True
    with part.open("rb") as stream:
        md5 = hashlib.file_digest(stream, _md5).digest()
    return md5 == base64.b64decode(match[1])


def _md5() -> Any:
    return hashlib.new("md5", usedforsecurity=False)


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in _TEMPORARY
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    kinds = (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException)
    return isinstance(error, kinds)


def _wait(failures: int, error: Exception) -> float:
    """Returns the seconds to wait: exponential backoff with jitter."""
    wanted = FIRST_WAIT_SECONDS * 2.0 ** max(failures - 1, 0)
    jittered = wanted * random.uniform(0.5, 1.5)
    if isinstance(error, urllib.error.HTTPError):
        after = error.headers.get("Retry-After", "")
        jittered = max(jittered, float(after) if after.isdecimal() else 0.0)
    return min(jittered, LONGEST_WAIT_SECONDS)


class _Progress:
    """Counts received bytes and shows a progress bar on a terminal."""

    def __init__(
        self,
        name: str,
        done: int,
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done = self._start = done
        self._name, self._total, self._clock = name, total, clock
        self._began = clock()
        self._shown = float("-inf")
        self._is_shown = sys.stderr.isatty() and _is_interactive()

    @property
    def wanted(self) -> int:
        """Number of bytes to read next; 0 at the end."""
        return _CHUNK if self._total is None else min(_CHUNK, self._total - self.done)

    def add(self, count: int) -> None:
        self.done += count
        if self.done > MAX_BYTES:
            raise ValueError(f"A weight file cannot exceed {MAX_BYTES} bytes")
        now = self._clock()
        if self._is_shown and now - self._shown > 0.1:
            self._show(now)

    def close(self) -> None:
        if self._is_shown:
            self._show(self._clock())
            print(file=sys.stderr)

    def _show(self, now: float) -> None:
        self._shown = now
        rate = (self.done - self._start) / max(now - self._began, 1e-3)
        text = f"{self._name}  {self.done / 1e6:.1f} MB  {rate / 1e6:.1f} MB/s"
        if self._total:
            left = (self._total - self.done) / max(rate, 1.0)
            text += f"  {self.done / self._total:4.0%}  {left:.0f} s left"
        print(f"\r{text:<70}", end="", flush=True, file=sys.stderr)


def _is_interactive() -> bool:
    import keras

    return bool(keras.config.is_interactive_logging_enabled())


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _save(part: Path, begun: _Begun) -> None:
    write_text(_notes(part), json.dumps(dataclasses.asdict(begun)))


def _load(part: Path, url: str) -> _Begun | None:
    """Reads the metadata of `part`; None if the download cannot be resumed."""
    try:
        begun = _Begun(**json.loads(_notes(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return begun if begun.url == url and part.is_file() else None
